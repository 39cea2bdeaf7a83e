import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { UserError } from "../errors.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { writeAtomically } from "./file.ts";
import { HEADS_FILE, inTransformers, isInTransformers } from "./names.ts";
import { writeSafetensors } from "./safetensors.ts";
import type { TensorFile } from "./tensor-file.ts";

const json = (path: string, value: unknown) =>
  writeAtomically(path, (put) => put(new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`)));

/** Writes some tensors of a file, one at a time, so that memory stays that of the largest; halves are widened to float32. */
function writeTensors(path: string, weights: TensorFile, names: string[]): void {
  writeSafetensors(
    path,
    names.map((name) => {
      const { dtype, shape } = weights.infos.get(name)!;
      const wide = dtype === "F16" || dtype === "BF16" ? "F32" : dtype;
      return { name, dtype: wide, shape, data: () => weights.readNumbers(name).data };
    }),
  );
}

/**
 * Writes a checkpoint as one safetensors file under Hugging Face's names.
 *
 * @throws `UserError` where `path` exists
 */
export function writeSafetensorsCopy(checkpoint: Checkpoint, path: string): void {
  if (existsSync(path)) throw new UserError(`${path}: exists already; name a file that does not`);
  mkdirSync(dirname(resolve(path)), { recursive: true });
  writeTensors(path, checkpoint.weights, [...checkpoint.weights.infos.keys()]);
}

// What a Hugging Face folder says of its output symbols: taken over as it is.
const TOKENIZER_FILES = [
  "vocab.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
];

/** Halves become float32: a configuration that says otherwise would have transformers narrow them again. */
function asWritten({ torch_dtype: _, dtype: __, ...config }: Checkpoint["config"]): Checkpoint["config"] {
  return config;
}

/**
 * Writes a checkpoint as a folder that `transformers.AutoModel.from_pretrained` loads without a warning: `config.json`,
 * `model.safetensors`, and where known `preprocessor_config.json`, `vocab.json` and `tokenizer_config.json`. Parameters
 * that transformers has no place for (HuBERT's pre-training head) go to `heads.safetensors`. The folder appears whole or
 * not at all.
 *
 * @returns the files written
 * @throws `UserError` where `folder` exists
 */
export function writeHuggingFaceFolder(checkpoint: Checkpoint, folder: string): string[] {
  if (existsSync(folder)) throw new UserError(`${folder}: exists already; name a folder that does not`);
  const { weights, family, config, preprocessor, vocabulary } = checkpoint;
  const target = resolve(folder);
  const temporary = join(dirname(target), `.convert-${process.pid}.tmp`);
  const names = [...weights.infos.keys()];
  // A family that is no model of transformers at all: its folder serves us alone and stays in one piece.
  const heads = !isInTransformers(family) ? [] : names.filter((name) => !inTransformers(family, name));
  const files: string[] = [];
  const put = (name: string, write: (path: string) => void) => {
    write(join(temporary, name));
    files.push(name);
  };
  mkdirSync(temporary, { recursive: true });
  try {
    put("config.json", (path) => json(path, asWritten(config)));
    put("model.safetensors", (path) =>
      writeTensors(
        path,
        weights,
        names.filter((name) => !heads.includes(name)),
      ),
    );
    if (heads.length) put(HEADS_FILE, (path) => writeTensors(path, weights, heads));
    if (preprocessor) put("preprocessor_config.json", (path) => json(path, preprocessor));
    if (vocabulary) {
      put("vocab.json", (path) => json(path, Object.fromEntries(vocabulary)));
      put("tokenizer_config.json", (path) =>
        json(path, {
          tokenizer_class: "Wav2Vec2CTCTokenizer",
          unk_token: "<unk>",
          bos_token: "<s>",
          eos_token: "</s>",
          pad_token: "<pad>",
          word_delimiter_token: "|",
          do_lower_case: false,
        }),
      );
    } else
      for (const name of TOKENIZER_FILES) {
        const beside = join(checkpoint.path, name);
        if (existsSync(beside)) put(name, (path) => copyFileSync(beside, path));
      }
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
  return files;
}
