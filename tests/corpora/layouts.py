"""Tiny archives in the layouts of the official ones: tones for speech, invented speakers and texts."""

import io
import tarfile
from hashlib import sha256

import numpy as np
import soundfile
from lhotse import Recording, SupervisionSegment
from ruamel.yaml import YAML

from velocity.data.manifests import Fault

BOOKS = ["SPEAKERS.TXT", "README.TXT"]


def tone(seconds, rate=16_000, kind="FLAC"):
    file = io.BytesIO()
    samples = 0.1 * np.sin(np.arange(int(seconds * rate)) * 0.05)
    soundfile.write(file, samples.astype(np.float32), rate, format=kind)
    return file.getvalue()


def librispeech(part, speakers):
    """Two utterances of each speaker, in one chapter."""
    files = {f"LibriSpeech/{name}": b"; ID | SEX\n" for name in BOOKS}
    for speaker in speakers:
        folder, lines = f"LibriSpeech/{part}/{speaker}/12", []
        for number, text in enumerate(["HE TRIED TO THINK", "IT WAS LATE"]):
            utterance = f"{speaker}-12-{number:04d}"
            files[f"{folder}/{utterance}.flac"] = tone(0.3 + 0.1 * number)
            lines.append(f"{utterance} {text}\n")
        files[f"{folder}/{speaker}-12.trans.txt"] = "".join(lines).encode()
    return files


def librilight(part, speakers):
    files = {}
    for speaker in speakers:
        name = f"{part}/{speaker}/a_book_64kb_mp3/book_01_64kb"
        files[f"{name}.flac"] = tone(0.5)
        files[f"{name}.json"] = f'{{"speaker": "{speaker}", "voice_activity": [[0.1, 0.4]]}}'.encode()
    return files


def ljspeech():
    lines = ["LJ001-0001|In 1455,|In fourteen fifty-five,", 'LJ001-0002|"quoted|"quoted, of course']
    files = {f"LJSpeech-1.1/wavs/{line[:10]}.wav": tone(0.4, 22_050, "WAV") for line in lines}
    return {"LJSpeech-1.1/README": b"-", "LJSpeech-1.1/metadata.csv": "\n".join(lines).encode(), **files}


def speechocean762():
    files = {}
    for part, speakers in (("train", {"0001": 8, "0003": 30}), ("test", {"0002": 9})):
        tables = dict.fromkeys(("text", "utt2spk", "wav.scp", "spk2age", "spk2gender"), "")
        for speaker, age in speakers.items():
            path = f"WAVE/SPEAKER{speaker}/00{speaker}001.WAV"
            files[f"speechocean762/{path}"] = tone(0.4, kind="WAV")
            tables["text"] += f"00{speaker}001\tWE CALL IT BEAR\n"
            tables["utt2spk"] += f"00{speaker}001\t{speaker}\n"
            tables["wav.scp"] += f"00{speaker}001\t{path}\n"
            tables["spk2age"] += f"{speaker}\t{age}\n"
            tables["spk2gender"] += f"{speaker}\tm\n"
        files |= {f"speechocean762/{part}/{name}": table.encode() for name, table in tables.items()}
    return files


def commonvoice(language="en"):
    folder = f"cv-corpus-17.0-2024-03-15/{language}"
    columns = "client_id\tpath\tsentence_id\tsentence\tup_votes\tage\tgender"
    rows = {
        "train": [
            'ada\tcommon_voice_en_1.mp3\tx\tShe said: "Go.\t2\ttwenties\t',
            "bob\tcommon_voice_en_2.mp3\tx\tYes.\t2\t\t",
        ],
        "dev": ["eve\tcommon_voice_en_3.mp3\tx\tLine\u2028end.\t2\tteens\tfemale"],
        "test": ["kim\tcommon_voice_en_4.mp3\tx\tNo.\t2\tfourties\t"],
        "other": ["sam\tcommon_voice_en_5.mp3\tx\tUnheard.\t0\t\t"],
    }
    files = {f"{folder}/{part}.tsv": "\n".join([columns, *lines, ""]).encode() for part, lines in rows.items()}
    return files | {f"{folder}/clips/common_voice_en_{n}.mp3": tone(0.5, 32_000, "MP3") for n in range(1, 6)}


def pack(files, mode="w:gz"):
    """Bytes of a tar file of path → content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def official():
    """Path on the server → bytes, of a small copy of every corpus."""
    return {
        "/resources/31/train-clean-5.tar.gz": pack(librispeech("train-clean-5", ["1", "2"])),
        "/resources/31/dev-clean-2.tar.gz": pack(librispeech("dev-clean-2", ["3"])),
        "/librilight/data/small.tar": pack(librilight("small", ["1", "100"]), "w:"),
        "/data/speech/LJSpeech-1.1.tar.bz2": pack(ljspeech(), "w:bz2"),
        "/resources/101/speechocean762.tar.gz": pack(speechocean762()),
    }


def rewrite_table(table, served):
    """The official table with the lengths and checksums of what is served, where it publishes any."""
    yaml = YAML(typ="safe")
    corpora = yaml.load(table.read_text())
    for corpus in corpora.values():
        for row in corpus["archives"].values():
            data = served.get(f"/{row['file']}")
            if data is not None:
                published = {"sha256", "md5"} & row.keys()
                row.update({"bytes": len(data)} if "bytes" in row else {})
                for algorithm in published:
                    del row[algorithm]
                if published:
                    row["sha256"] = sha256(data).hexdigest()
    yaml.dump(corpora, table)


def gather(items):
    """What a reader yields, as lists: recordings, supervisions and faults."""
    lists = {Recording: [], SupervisionSegment: [], Fault: []}
    for item in items:
        lists[type(item)].append(item)
    return tuple(lists.values())
