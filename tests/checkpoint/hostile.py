"""Makes hostile checkpoints, one trick each; every payload would leave a marker file."""

import io
import pickle
import struct
import tarfile
import warnings
import zipfile

import torch

from pytorch_lightning.checkpoint.plain import TAG, VALUE


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def call(function, *args):
    return function + b"(" + b"".join(args) + b"tR"


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def persistent(kind, key, location, count):
    return tuple_of(text("storage"), kind, text(key), text(location), number(count)) + b"Q"


FLOATS = name("torch", "FloatStorage")
TENSOR = name("torch._utils", "_rebuild_tensor_v2")


def tensor(storage, offset, size, stride):
    sizes = (tuple_of(*map(number, values)) for values in (size, stride))
    hooks = call(name("collections", "OrderedDict"))
    return call(TENSOR, storage, number(offset), *sizes, b"\x89", hooks)


def doubled(at):
    """Put what is on the stack into a list, twice."""
    kept = bytes([at])
    return b"q" + kept + b"0]h" + kept + b"ah" + kept + b"a"


def opcodes(marker):
    """Pickled values that would run something, or break the machine that reads them."""
    touch = text(f"touch {marker}")
    system = name("posix", "system")
    run = call(system, touch)
    python = text(f"open({str(marker)!r}, 'w')")
    storage = persistent(FLOATS, "0", "cpu", 2)
    namespace = name("argparse", "Namespace")
    fine = tensor(storage, 0, (2,), (1,))
    inner = pickle.dumps([], 2)
    return {
        "reduce": run,
        "reduce os": call(name("os", "system"), touch),
        "reduce nt": call(name("nt", "system"), touch),
        "reduce eval": call(name("builtins", "eval"), python),
        "reduce eval of python 2": call(name("__builtin__", "eval"), python),
        "reduce exec": call(name("builtins", "exec"), python),
        "reduce import": call(name("builtins", "__import__"), text("antigravity")),
        "reduce import_module": call(name("importlib", "import_module"), text("antigravity")),
        "reduce open": call(name("builtins", "open"), text(str(marker)), text("w")),
        "reduce io open": call(name("_io", "open"), text(str(marker)), text("w")),
        "reduce getattr": call(name("builtins", "getattr"), name("os", "path"), text("os")),
        "reduce popen": call(name("subprocess", "Popen"), b"]" + text("touch") + b"a"),
        "reduce partial": call(call(name("functools", "partial"), system, touch)),
        "reduce a result": call(call(name("operator", "attrgetter"), text("x")), b"}"),
        "reduce map": call(name("builtins", "map"), system, tuple_of(touch)),
        "reduce marshal": call(name("marshal", "loads"), touch),
        "reduce pickle": call(name("pickle", "loads"), b"U" + bytes([len(inner)]) + inner),
        "reduce runpy": call(name("runpy", "run_path"), touch),
        "reduce pty": call(name("pty", "spawn"), touch),
        "reduce timeit": call(name("timeit", "timeit"), python),
        "reduce code": call(name("types", "FunctionType"), python),
        "reduce ctypes": call(name("ctypes", "CDLL"), text("libc.so.6")),
        "reduce url": call(name("urllib.request", "urlopen"), text("http://127.0.0.1:9/")),
        "reduce browser": call(name("webbrowser", "open"), text("http://127.0.0.1:9/")),
        "reduce numpy": call(name("numpy.testing._private.utils", "runstring"), python, b"}"),
        "torch load from bytes": call(name("torch.storage", "_load_from_bytes"), b"U\x01x"),
        "torch load": call(name("torch.serialization", "load"), text("x")),
        "torch hub": call(name("torch.hub", "load"), text("x"), text("y")),
        "torch graph module": call(
            name("torch.fx.graph_module", "reduce_graph_module"), b"}", b"}"
        ),
        "torch script": call(name("torch.jit._serialization", "load"), text("x")),
        "torch wrapper": call(
            name("torch._tensor", "_rebuild_from_type_v2"), system, FLOATS, tuple_of(touch), b"N"
        ),
        "torch wrapper of itself": call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            name("torch._tensor", "_rebuild_from_type_v2"),
            name("torch", "Tensor"),
            b")",
            b"N",
        ),
        "nested module name": call(name("collections.abc.sys", "exit"), number(3)),
        "nested attribute": b"\x80\x04"
        + text("torch")
        + text("serialization.os.system")
        + b"\x93"
        + tuple_of(touch)
        + b"R",
        "stack global": b"\x80\x04"
        + text("posix")
        + text("system")
        + b"\x93"
        + tuple_of(touch)
        + b"R",
        "names that are no text": b"K\x01K\x02\x93",
        "inst": b"(" + touch + b"iposix\nsystem\n",
        "obj": b"(" + system + touch + b"o",
        "newobj": name("subprocess", "Popen") + tuple_of(touch) + b"\x81",
        "newobj_ex": name("subprocess", "Popen") + tuple_of(touch) + b"}\x92",
        "extension registry": b"\x82\x01",
        "build a module": name("torch.nn.modules.module", "Module")
        + b")\x81}"
        + text("forward")
        + system
        + b"sb",
        "build a class": name("pathlib", "Path")
        + tuple_of(b"N", b"}" + text("open") + system + b"s")
        + b"b",
        "build a function": TENSOR + b"}" + text("__code__") + touch + b"sb",
        "build a tensor": fine
        + tuple_of(storage, number(0), tuple_of(number(1 << 40)), tuple_of(number(1)))
        + b"b",
        "build a list": b"]}" + text("__class__") + touch + b"sb",
        "build a namespace of a function": namespace + b")\x81}" + text("a") + run + b"sb",
        "an object in a key": b"}" + run + b"K\x01s",
        "a class in hyperparameters": b"}"
        + text("optimizer")
        + name("torch.optim.adam", "Adam")
        + b"s",
        "a default that is called": call(name("collections", "defaultdict"), system),
        "items of a tensor": fine + b"(K\x00K\x01u",
        "items of a list": b"](K\x00K\x01u",
        "appended to a tensor": fine + b"K\x01a",
        "appended to a name": system + b"K\x01a",
        "a persistent text": b"P0\n",
        "a storage of another type": persistent(system, "0", "cpu", 2),
        "a storage outside": persistent(FLOATS, "../../../../etc/passwd", "cpu", 2),
        "a storage with an absolute path": persistent(FLOATS, "/etc/passwd", "cpu", 2),
        "a storage that claims too much": tensor(
            persistent(FLOATS, "0", "cpu", 1 << 40), 0, (1 << 40,), (1,)
        ),
        "a storage of minus one": persistent(FLOATS, "0", "cpu", -1),
        "a tensor beyond its storage": tensor(storage, 0, (1000,), (1,)),
        "a tensor that begins beyond": tensor(storage, 100, (1,), (1,)),
        "a tensor before its storage": tensor(storage, -4, (2,), (1,)),
        "a tensor that strides back": tensor(storage, 1, (2,), (-1,)),
        "a tensor that strides beyond": tensor(storage, 0, (2,), (1 << 60,)),
        "a tensor of minus one": tensor(storage, 0, (-1,), (1,)),
        "a tensor of text": call(TENSOR, touch, number(0), b")", b")", b"\x89", b"}"),
        "a sparse tensor beyond itself": call(
            name("torch._utils", "_rebuild_sparse_tensor"),
            call(name("torch.serialization", "_get_layout"), text("torch.sparse_coo")),
            tuple_of(
                call(
                    name("torch._utils", "_rebuild_tensor_v2"),
                    persistent(name("torch", "LongStorage"), "0", "cpu", 1),
                    number(0),
                    tuple_of(number(1), number(1)),
                    tuple_of(number(1), number(1)),
                    b"\x89",
                    b"}",
                ),
                tensor(storage, 0, (1,), (1,)),
                tuple_of(number(0)),
            ),
        ),
        "a set without end": call(
            name("builtins", "set"), call(name("builtins", "range"), number(1 << 60))
        ),
        "a deque without end": call(
            name("collections", "deque"), call(name("builtins", "range"), number(1 << 60))
        ),
        "a counter without end": call(
            name("collections", "Counter"), call(name("builtins", "range"), number(1 << 60))
        ),
        "bytes without end": call(name("builtins", "bytearray"), number(1 << 60)),
        "a fraction without end": call(name("fractions", "Fraction"), text("1e99999999999")),
        "an array of pointers": call(
            name("numpy.core.multiarray", "scalar"),
            call(name("numpy", "dtype"), text("O8"), b"\x89", b"\x88"),
            b"U\x08\x01\x02\x03\x04\x05\x06\x07\x08",
        ),
        "an integer in text": b"L" + b"9" * 1_000_000 + b"L\n",
        "laughs": b"]" + b"".join(map(doubled, range(60))),
        "laughs in a key": b"}" + b"K\x01" + b"".join(b"2\x86" for _ in range(60)) + b"K\x01s",
        "laughs in a set": b"\x8f(" + b"K\x01" + b"".join(b"2\x86" for _ in range(60)) + b"\x90",
        "nested without end": b"]" * 100_000 + b"a" * 99_999,
        "nested tuples": b")" + b"\x85" * 100_000,
        "contains itself": b"]q\x00h\x00a",
        "text without end": b"\x8d" + struct.pack("<Q", 1 << 60),
        "a frame without end": b"\x95" + struct.pack("<Q", 1 << 60),
        "a list of empty dictionaries": b"](" + b"}" * 3_000_000 + b"e",
        "a list of empty sets": b"](" + b"\x8f" * 3_000_000 + b"e",
        "a memo without end": b"N" + b"\x94" * 6_000_000,
        "operations without end": b"N0" * 10_000_000 + b"N",
        "numbers without end": b"](" + b"M\xff\xff" * 14_000_000 + b"e",
        "the same text as bytes": text("x" * 1_000_000)
        + b"q\x000]("
        + (name("_codecs", "encode") + b"q\x010" + (b"h\x01(h\x00tR" * 2_000))
        + b"e",
        "the same list as a set": b"]("
        + b"".join(b"M" + struct.pack("<H", i) for i in range(60_000))
        + b"eq\x000]("
        + (name("builtins", "set") + b"q\x010" + b"h\x01h\x00\x85R" * 5_000)
        + b"e",
        "deques": name("collections", "deque") + b"q\x000](" + b"h\x00)R" * 1_000_000 + b"e",
        "numbers that collide": b"}("
        + b"".join(
            b"\x8a\x0b" + (i * ((1 << 61) - 1)).to_bytes(11, "little") + b"N"
            for i in range(1, 60_000)
        )
        + b"u",
        "complex keys that collide": b"\x8f("
        + b"".join(
            call(
                name("builtins", "complex"),
                b"G" + struct.pack(">d", -1000003.0 * i),
                b"G" + struct.pack(">d", float(i)),
            )
            for i in range(1, 20_000)
        )
        + b"\x90",
        "a fraction of giants": call(
            name("fractions", "Fraction"),
            *2 * [b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20)],
        ),
        "a giant as a key": b"}"
        + b"\x8b"
        + struct.pack("<i", 1 << 24)
        + b"\x7f" * (1 << 24)
        + b"q\x000"
        + b"h\x00Ns" * 100_000,
        "long texts as keys": b"}"
        + text("k" * 3_000_000)
        + b"q\x000"
        + text("k" * 3_000_000)
        + b"q\x010"
        + b"h\x00Nsh\x01Ns" * 300_000,
        "a tensor that repeats itself": call(
            name("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"),
            tensor(storage, 0, (1 << 40,), (0,)),
            name("torch", "float64"),
            text("cpu"),
            b"\x89",
        ),
        "a sparse tensor that repeats itself": call(
            name("torch._utils", "_rebuild_sparse_tensor"),
            call(name("torch.serialization", "_get_layout"), text("torch.sparse_coo")),
            tuple_of(
                call(
                    TENSOR,
                    persistent(name("torch", "LongStorage"), "0", "cpu", 1),
                    number(0),
                    tuple_of(number(1), number(1 << 40)),
                    tuple_of(number(0), number(0)),
                    b"\x89",
                    b"}",
                ),
                tensor(storage, 0, (1 << 40,), (0,)),
                tuple_of(number(8)),
            ),
        ),
        "a tensor of many dimensions": tensor(storage, 0, (1,) * 100_000, (1,) * 100_000),
        "a tag of a giant": b"}"
        + text(TAG)
        + text("fraction")
        + b"s"
        + text(VALUE)
        + b"]("
        + (b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20)) * 2
        + b"es",
        "a tag whose array repeats itself": b"}"
        + text(TAG)
        + text("numpy.array")
        + b"s"
        + text(VALUE)
        + b"]("
        + text("u1")
        + b"]("
        + number(1 << 36)
        + b"e"
        + call(
            TENSOR,
            persistent(name("torch", "ByteStorage"), "0", "cpu", 8),
            number(0),
            tuple_of(number(1 << 36)),
            tuple_of(number(0)),
            b"\x89",
            b"}",
        )
        + b"es",
        "an unknown memo": b"j\xff\xff\xff\x7f",
        "an unknown operation": b"\xff",
        "a mark that is missing": b"t",
        "nothing on the stack": b"0000",
        "a tag that runs": b"}" + text(TAG) + text("os.system") + b"s" + text(VALUE) + touch + b"s",
        "a tag that never ends": b"}"
        + text(TAG)
        + text("range")
        + b"s"
        + text(VALUE)
        + number(1 << 60)
        + b"s",
    }


def archive(path, pickled, records=(), **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
        for record, data in {"archive/data/0": bytes(8), **dict(records)}.items():
            file.writestr(record, data)


def pickled(value, key="hyper_parameters"):
    return b"\x80\x02}" + text(key) + value + b"s."


def archives(folder, marker):
    """Files whose container is hostile."""
    plain = pickled(b"K\x01")
    archive(folder / "deflated bomb.ckpt", bytes(1 << 26), compression=zipfile.ZIP_DEFLATED)
    archive(folder / "compressed.ckpt", plain, compression=zipfile.ZIP_BZIP2)
    archive(folder / "no end.ckpt", b"\x80\x02}")
    archive(folder / "empty pickle.ckpt", b"")
    archive(folder / "two pickles.ckpt", plain, {"other/data.pkl": plain})
    archive(
        folder / "climbing record.ckpt",
        pickled(persistent(FLOATS, "../x", "cpu", 2)),
        {"../x": bytes(8)},
    )
    with zipfile.ZipFile(folder / "twice.ckpt", "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr("archive/data.pkl", plain)
        file.writestr("archive/data.pkl", pickled(b"K\x02"))
    archive(folder / "upon each other.ckpt", plain, {"archive/data/1": bytes(8)})
    whole = bytearray((folder / "upon each other.ckpt").read_bytes())
    entries = [at for at in range(len(whole)) if whole[at : at + 4] == b"PK\x01\x02"]
    whole[entries[-1] + 42 : entries[-1] + 46] = whole[entries[-2] + 42 : entries[-2] + 46]
    (folder / "upon each other.ckpt").write_bytes(whole)
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "safetensors.ckpt").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    _patched(folder / "huge record.ckpt", plain, 24, struct.pack("<I", 0xFFFFFFF0))
    _patched(folder / "encrypted.ckpt", plain, 8, b"\x01\x00")
    _patched(folder / "overlapping.ckpt", plain, 42, struct.pack("<I", 0x7FFFFFFF))
    with zipfile.ZipFile(folder / "elsewhere.ckpt", "w") as file:
        file.writestr("a/b/c/data.pkl", plain)
    with tarfile.open(folder / "tar.ckpt", "w") as file:
        entry = tarfile.TarInfo("../../escape")
        entry.size = 3
        file.addfile(entry, io.BytesIO(b"abc"))
    (folder / "python.ckpt").write_bytes(
        pickled(call(name("posix", "system"), text(f"touch {marker}")))
    )
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    start = magic + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    run = pickled(call(name("posix", "system"), text(f"touch {marker}")))
    (folder / "legacy reduce.ckpt").write_bytes(start + run + pickle.dumps([], 2))
    first = magic + run
    (folder / "legacy version.ckpt").write_bytes(first)
    huge = tuple_of(text("storage"), FLOATS, text("0"), text("cpu"), number(1 << 40), b"N") + b"Q"
    (folder / "legacy huge.ckpt").write_bytes(start + pickled(huge) + pickle.dumps(["0"], 2))
    buffer = io.BytesIO()
    torch.save({"x": torch.ones(4)}, buffer, _use_new_zipfile_serialization=False)
    (folder / "legacy cut.ckpt").write_bytes(buffer.getvalue()[:-4])


def _patched(path, plain, offset, data):
    """Change the entry of the pickle in the central directory."""
    archive(path, plain)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"PK\x01\x02") + offset
    whole[at : at + len(data)] = data
    path.write_bytes(whole)


LARGE = ("numbers without end", "operations without end", "a list of empty dictionaries",
         "a list of empty sets", "a memo without end", "many records")  # fmt: skip


def make(folder, marker, *, large=False):
    """Write all files, or those that take long to read; each must be refused."""
    for title, value in opcodes(marker).items():
        if (title in LARGE) is not large:
            continue
        archive(folder / f"{title}.ckpt", pickled(value))
    if large:
        many_records(folder / "many records.ckpt")
    else:
        archives(folder, marker)


def many_records(path):
    """An archive whose list of records is nearly all of it."""
    archive(path, pickled(b"K\x01"))
    whole = path.read_bytes()
    at, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    entry = whole[at : whole.index(b"PK\x01\x02", at + 1)] * 600_000
    tail = bytearray(whole[end:])
    tail[12:16] = struct.pack("<I", len(entry))
    path.write_bytes(whole[:at] + entry + tail)


def make_harmless(folder):
    """Files with names of code in them that are nothing but text, and load as such."""
    spec = {
        "_instantiator": "antigravity.instantiate",
        "_class_path": "subprocess.Popen",
        "class_path": "os.system",
        "init_args": {"command": "true"},
    }
    torch.save({"hyper_parameters": spec, "state_dict": {}}, folder / "spec.ckpt")
    function = call(name("builtins", "getattr"), name("posix", "x"), text("system"))
    archive(
        folder / "scheduler.ckpt",
        pickled(b"](}" + text("anneal_func") + function + b"se", "lr_schedulers"),
    )
    key = b"}" + name("os", "system") + b"}s"
    archive(folder / "callback.ckpt", pickled(key, "callbacks"))
