import { join } from "node:path";
import { UserError } from "../errors.ts";
import { loraNames, loraPath, mergedLora } from "../params/lora.ts";
import { type TensorEntry, writeSafetensors } from "../weights/safetensors.ts";
import { fitsName, type Training } from "./groups.ts";
import { isAdapter, type Model } from "./model.ts";
import type { Recipe } from "./recipe-schema.ts";
import type { ParameterStore } from "./store.ts";

/**
 * Under a plan of adapters only they, the heads and what the plan names besides train.
 * @throws UserError where the plan fits nothing, or asks for two methods at once
 */
export function freezeAroundAdapters(
  { adapter, lora, mask }: Recipe["plan"],
  training: ReadonlyMap<string, Training>,
  prefix: string,
): void {
  const spec = adapter ?? lora;
  if (spec === undefined) return;
  if ([adapter, lora, mask].filter((each) => each !== undefined).length > 1)
    throw new UserError("plan: may have one of `mask`, `adapter` and `lora`, not several");
  const key = adapter === undefined ? "plan.lora" : "plan.adapter";
  const names = [...training.keys()];
  const bare = (name: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : name);
  if (!names.some(isAdapter))
    throw new UserError(
      adapter === undefined
        ? `plan.lora.targets: no weight of this upstream belongs to ${lora!.targets.join(", ")}`
        : "plan.adapter: this upstream has no transformer layers to put adapters into",
    );
  const idle = spec.alsoTrain.find((match) => !names.some((name) => fitsName(match, bare(name))));
  if (idle !== undefined) throw new UserError(`${key}.alsoTrain: \`${idle}\` fits no parameter`);
  for (const [name, how] of training)
    if (name.startsWith(prefix) && !isAdapter(name))
      how.frozen ||= !spec.alsoTrain.some((match) => fitsName(match, bare(name)));
}

/** What a file in Hugging Face's form holds of a parameter: LoRA's sums are carried out, their factors left out. */
export function exportedEntry(name: string, store: ParameterStore, { lora }: Model): TensorEntry | undefined {
  const { shape } = store.specs.get(name)!;
  const entry = (data: TensorEntry["data"]): TensorEntry => ({ name, dtype: "F32", shape: [...shape], data });
  if (lora === undefined) return entry(store.array(name));
  if (isAdapter(name)) return undefined;
  const path = loraPath(name, lora);
  if (path === undefined || shape.length !== 2) return entry(store.array(name));
  const { a, b } = loraNames(path);
  return entry(() => mergedLora(store.array(name), store.array(a), store.array(b), shape, lora));
}

const ADAPTERS = "adapter_model.safetensors";

/**
 * Writes what a plan of adapters learned by itself, beside the whole model: `adapter_model.safetensors`, LoRA's with the
 * names and the `adapter_config.json` that PEFT reads.
 */
export function writeAdapters(folder: string, store: ParameterStore, { lora }: Model): TensorEntry[] {
  const entries = [...store.specs.values()]
    .filter(({ name }) => isAdapter(name))
    .map(({ name, shape }): TensorEntry => {
      const data = store.array(name);
      return {
        name: lora === undefined ? name : `base_model.model.${name}`,
        dtype: "F32",
        shape: [...shape],
        data,
      };
    });
  if (entries.length > 0) writeSafetensors(join(folder, ADAPTERS), entries);
  return entries;
}

/** PEFT's description of LoRA. */
export const peftConfig = ({ lora, source }: Model): Record<string, unknown> | undefined =>
  lora && {
    peft_type: "LORA",
    base_model_name_or_path: source ?? null,
    r: lora.rank,
    lora_alpha: lora.alpha,
    lora_dropout: 0,
    target_modules: [...lora.targets],
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
  };
