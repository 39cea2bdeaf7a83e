import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { writeAtomically } from "../weights/file.ts";
import { writeSafetensors } from "../weights/safetensors.ts";
import { exportModel } from "./export.ts";
import { openPack } from "./open-model.ts";
import { readAnyPack } from "./pack.ts";

/**
 * Writes a pack as the folder of the run that it came from: a dense model in Hugging Face's form with its heads. A SUPERB task's
 * head stands in `head.safetensors`, how it was learned in `head.yaml`.
 */
export function unpack(path: string, folder: string, backbone?: string): void {
  const { task, store, audio, recipe } = openPack(path, backbone);
  const { files, own } = readAnyPack(path);
  mkdirSync(folder, { recursive: true });
  exportModel(folder, task, store, { spec: audio });
  if (recipe === undefined)
    writeSafetensors(
      join(folder, "head.safetensors"),
      [...own].map(([name, { shape, data }]) => ({ name, dtype: "F32" as const, shape: [...shape], data })),
    );
  // A `recipe.yaml` would make it a run.
  for (const [name, text] of Object.entries(files))
    writeAtomically(
      join(folder, recipe === undefined && name === "recipe.yaml" ? "head.yaml" : name),
      (put) => put(Buffer.from(text)),
    );
}
