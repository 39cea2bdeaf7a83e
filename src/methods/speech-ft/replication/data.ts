import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readManifest, type Utterance, writeManifest } from "../../../corpus/manifest.ts";
import { UserError } from "../../../errors.ts";
import * as ops from "../../../ops/index.ts";
import type { ParameterSpec } from "../../../params/params.ts";
import { ParameterTable } from "../../../params/params.ts";
import { type ProbeTask, tasksNamed } from "../../../superb/index.ts";
import { symbol } from "../../../tensor/dims.ts";
import { ParameterStore } from "../../../train/store.ts";
import { upstreamOf } from "../../../upstreams/index.ts";
import { writeSafetensors } from "../../../weights/safetensors.ts";

/** What is fine-tuned on; each has a manifest of its own. */
export const TUNING = ["phonemes", "speakers", "keywords"] as const;
export type Tuning = (typeof TUNING)[number];

/** The probes, in the order of the tables. */
export const PROBES = ["mini-phonemes", "mini-speakers", "mini-keywords", "mini-slots"] as const;

/**
 * The probes, and manifests to fine-tune on that share no utterance with any probe's test part: what is probed afterwards was
 * never trained on.
 *
 * @param root the folder that holds the corpora
 * @param folder where the manifests go
 */
export async function prepareData(root: string, folder: string): Promise<ProbeTask[]> {
  const tasks: ProbeTask[] = [];
  for (const entry of tasksNamed(PROBES.join(","))) tasks.push(...(await entry.prepare(root)));
  const [phonemes, speakers, keywords] = tasks;
  const inPart = (task: ProbeTask, part: "train" | "valid" | "test") =>
    new Map(task.parts[part].map((i) => [task.items[i].utterance.id, task.items[i].utterance]));
  const both = [...inPart(phonemes, "train")].filter(([id]) => inPart(speakers, "train").has(id));
  const write = (name: Tuning, train: Utterance[], valid: Utterance[]) => {
    if (train.length === 0 || valid.length === 0)
      throw new UserError(`${root}: too few utterances to fine-tune on ${name}`);
    const labelled = (split: string) => (u: Utterance) => ({ ...u, split });
    const utterances = [...train.map(labelled("train")), ...valid.map(labelled("valid"))];
    writeManifest(join(folder, `${name}.jsonl`), utterances);
  };
  const untested = (u: Utterance) => !inPart(speakers, "test").has(u.id);
  // Phones are validated on new voices, as the probe tests them; speakers on the same ones.
  write(
    "phonemes",
    both.map(([, u]) => u),
    [...inPart(phonemes, "valid").values()].filter(untested),
  );
  write(
    "speakers",
    both.map(([, u]) => ({ ...u, labels: { ...u.labels, speaker: u.speaker! } })),
    [...inPart(phonemes, "train").values()]
      .filter((u) => inPart(speakers, "valid").has(u.id))
      .map((u) => ({ ...u, labels: { ...u.labels, speaker: u.speaker! } })),
  );
  write("keywords", [...inPart(keywords, "train").values()], [...inPart(keywords, "valid").values()]);
  return tasks;
}

/** A few utterances of each corpus under the same names, for the tiny path; returns their root. */
export function tinyCorpora(root: string, folder: string): string {
  const few = (name: string, keep: (all: Utterance[]) => Utterance[]) =>
    writeManifest(join(folder, name, "manifest.jsonl"), keep(readManifest(join(root, name))));
  few("speechocean762", (all) => {
    const speakers = [...new Set(all.map(({ speaker }) => speaker))].slice(0, 9);
    return speakers.flatMap((speaker) =>
      all
        .filter((u) => u.speaker === speaker)
        .sort((a, b) => (a.duration ?? 0) - (b.duration ?? 0))
        .slice(0, 7),
    );
  });
  few("wakewords", (all) => {
    const keywords = [...new Set(all.map(({ labels }) => labels?.keyword))];
    return keywords.flatMap((keyword) => all.filter(({ labels }) => labels?.keyword === keyword).slice(0, 7));
  });
  few("barista", (all) => all.slice(0, 24));
  return folder;
}

/** A model that nobody could learn much with, and that needs no time: for the tiny path. */
const TINY = {
  model_type: "hubert",
  ...{ hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32 },
  ...{ conv_dim: [8, 16], conv_stride: [20, 16], conv_kernel: [40, 32], num_feat_extract_layers: 2 },
  ...{ num_conv_pos_embeddings: 4, num_conv_pos_embedding_groups: 2, feat_extract_norm: "layer" },
  ...{ do_stable_layer_norm: true, conv_bias: true, mask_time_prob: 0, mask_feature_prob: 0 },
};

/** Writes it, with random weights, unless it is there. */
export function tinyModel(folder: string): string {
  if (existsSync(join(folder, "model.safetensors"))) return folder;
  mkdirSync(folder, { recursive: true });
  const upstream = upstreamOf(TINY, "tiny");
  const table = new ParameterTable();
  upstream.forward({ audio: ops.input("audio", [1, symbol("samples")]) }, table.at(upstream.prefix));
  const store = new ParameterStore(table.specs, () => false);
  store.initialise(1);
  writeFileSync(join(folder, "config.json"), JSON.stringify(TINY));
  const entry = ({ name, shape }: ParameterSpec) => ({
    name,
    shape,
    dtype: "F32" as const,
    data: store.array(name),
  });
  writeSafetensors(join(folder, "model.safetensors"), [...table.specs.values()].map(entry));
  return folder;
}
