import { mkdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { UserError } from "../../errors.ts";
import { maskInput } from "../../params/mask-inputs.ts";
import { bool, f32, type Value } from "../../runtime/program.ts";
import { openSafetensors, type TensorEntry, writeSafetensors } from "../../weights/safetensors.ts";
import type { OutputMetadata } from "./sidecars.ts";

/** What a program that runs a routed model gives it for one task, and how it reads the outputs. */
export interface TaskInputs {
  readonly name: string;
  readonly outputs: readonly OutputMetadata[];
  /** The graph inputs: masks as booleans, and the parameters that are the task's own. */
  readonly feeds: Readonly<Record<string, Value>>;
}

/** A mask of one task, one bit a weight (the first weight in the lowest bit, 1 where it is kept). */
export interface TaskMask {
  readonly shape: readonly number[];
  readonly bits: Uint8Array;
}

const FORMAT = "voxsmith-task";

/** Where the file of a task stands beside a routed model `FOLDER/onnx/model.onnx`. */
export const taskPath = (folder: string, name: string): string =>
  join(folder, "tasks", `${name}.safetensors`);

/** The file of a task that belongs to an exported model's file. */
export const taskBeside = (onnx: string, name: string): string => taskPath(join(dirname(onnx), ".."), name);

/** Writes a task: masks as packed bits (U8) and own parameters (F32), all by the names of their graph inputs. */
export function writeTask(
  path: string,
  {
    name,
    outputs,
    masks,
    own,
  }: {
    name: string;
    outputs: readonly OutputMetadata[];
    masks: ReadonlyMap<string, TaskMask>;
    own: ReadonlyMap<string, Value>;
  },
): void {
  mkdirSync(dirname(path), { recursive: true });
  const entries: TensorEntry[] = [];
  const shapes: Record<string, readonly number[]> = {};
  for (const [parameter, { shape, bits }] of masks) {
    const input = maskInput(parameter);
    shapes[input] = shape;
    entries.push({ name: input, dtype: "U8", shape: [bits.length], data: bits });
  }
  for (const [parameter, { shape, data }] of own)
    entries.push({ name: parameter, dtype: "F32", shape: [...shape], data: data as Float32Array });
  writeSafetensors(path, entries, { format: FORMAT, task: JSON.stringify({ name, outputs, masks: shapes }) });
}

/** Reads a task, its masks unpacked to a byte a weight. @throws UserError where the file is none */
export function readTask(path: string): TaskInputs {
  const file = openSafetensors(path);
  try {
    const { format, task } = file.metadata;
    if (format !== FORMAT || task === undefined)
      throw new UserError(
        `${path}: is no task of a routed model; \`voxsmith export --mask-inputs\` writes them`,
      );
    const {
      name,
      outputs,
      masks,
    }: { name: string; outputs: OutputMetadata[]; masks: Record<string, number[]> } = JSON.parse(task);
    const feeds: Record<string, Value> = {};
    for (const [input, { shape }] of file.infos) {
      if (!(input in masks)) {
        feeds[input] = f32(shape, file.readF32(input));
        continue;
      }
      const bits = file.readNumbers(input).data as Uint8Array;
      const flags = new Uint8Array(masks[input].reduce((a, b) => a * b, 1));
      if (bits.length !== Math.ceil(flags.length / 8))
        throw new UserError(
          `${path}: "${input}" has ${bits.length} bytes for ${flags.length} weights in ${basename(path)}`,
        );
      for (let i = 0; i < flags.length; i++) flags[i] = (bits[i >> 3] >> (i & 7)) & 1;
      feeds[input] = bool(masks[input], flags);
    }
    return { name, outputs, feeds };
  } finally {
    file.close();
  }
}
