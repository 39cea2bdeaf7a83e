import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { UserError } from "../../src/errors.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { writeHuggingFaceFolder, writeSafetensorsCopy } from "../../src/weights/convert.ts";
import { openSafetensors, type TensorFile } from "../../src/weights/safetensors.ts";
import { referenceDir } from "../shared.ts";

const fixtures = join(import.meta.dirname, "../fixtures/weights/checkpoints");
const folder = mkdtempSync(join(tmpdir(), "voxsmith-convert-"));
afterAll(() => rmSync(folder, { recursive: true }));

const numbers = (file: TensorFile, names = [...file.infos.keys()].sort()) =>
  names.map((name) => ({ name, ...file.readNumbers(name) }));

test.each(readdirSync(fixtures).filter((name) => /\.(pt|ckpt)$/.test(name) && !name.includes("frozen")))(
  "%s, written as a Hugging Face folder, opens to the same model",
  (name) => {
    const checkpoint = openCheckpoint(join(fixtures, name));
    const out = join(folder, name);
    const files = writeHuggingFaceFolder(checkpoint, out);
    expect(readdirSync(out).sort()).toEqual([...files].sort());
    const again = openCheckpoint(out);
    expect(again.config).toEqual(checkpoint.config);
    expect(numbers(again.weights)).toEqual(numbers(checkpoint.weights));
    for (const file of [checkpoint.weights, again.weights]) file.close();
  },
);

test("HuBERT's pre-training head goes to a file of its own; symbols and pre-processing are written", () => {
  const hubert = readdirSync(join(folder, "hubert-omegaconf.pt"));
  expect(hubert).toContain("heads.safetensors");
  expect(
    [...openSafetensors(join(folder, "hubert-omegaconf.pt/heads.safetensors")).infos.keys()].sort(),
  ).toEqual(["final_proj.bias", "final_proj.weight", "label_embs_concat"]);
  const vocabulary = JSON.parse(readFileSync(join(folder, "wav2vec2-ctc-cfg.pt/vocab.json"), "utf8"));
  expect(vocabulary).toMatchObject({ "<pad>": 0, "<s>": 1, "|": 4 });
  const audio = JSON.parse(readFileSync(join(folder, "xlsr-omegaconf.pt/preprocessor_config.json"), "utf8"));
  expect(audio).toMatchObject({ do_normalize: true, sampling_rate: 16000 });
});

test("nothing is overwritten, and a failure leaves nothing behind", () => {
  const checkpoint = openCheckpoint(join(fixtures, "wavlm.pt"));
  expect(() => writeHuggingFaceFolder(checkpoint, join(folder, "wavlm.pt"))).toThrow(UserError);
  expect(() => writeHuggingFaceFolder(checkpoint, join(folder, "wavlm.pt"))).toThrow(/exists already/);
  checkpoint.weights.close();
  const before = readdirSync(folder);
  // A closed file cannot be read: the writing fails midway.
  expect(() => writeHuggingFaceFolder(checkpoint, join(folder, "new"))).toThrow();
  expect(() => writeSafetensorsCopy(checkpoint, join(folder, "new.safetensors"))).toThrow();
  expect(readdirSync(folder)).toEqual(before);
});

const upstreams = referenceDir("upstreams");
test.skipIf(!upstreams)("a copy of a reference folder's weights is the same file", () => {
  const source = join(upstreams!, "wav2vec2-base");
  const checkpoint = openCheckpoint(source);
  const copy = join(folder, "copy.safetensors");
  writeSafetensorsCopy(checkpoint, copy);
  checkpoint.weights.close();
  expect(readFileSync(copy).equals(readFileSync(join(source, "model.safetensors")))).toBe(true);
  expect(() => writeSafetensorsCopy(checkpoint, copy)).toThrow(/exists already/);
  expect(existsSync(copy)).toBe(true);
});
