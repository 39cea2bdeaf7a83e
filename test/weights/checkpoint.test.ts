import { createHash } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UserError } from "../../src/errors.ts";
import {
  type Checkpoint,
  openCheckpoint,
  readDictionary,
  requirePretrainingHeads,
} from "../../src/weights/checkpoint.ts";
import { convLayers } from "../../src/weights/conv-layers.ts";
import {
  formatPlan,
  headOf,
  huggingFaceName,
  inTransformers,
  legacyWeightNorm,
  modernWeightNorm,
  planNames,
} from "../../src/weights/names.ts";
import { Instance } from "../../src/weights/pickle-globals.ts";
import { lookUp, plainOf } from "../../src/weights/plain-data.ts";
import { openSafetensors, writeSafetensors } from "../../src/weights/safetensors.ts";
import { referenceDir } from "../shared.ts";
import { archive, bytes, dict, global, pickle, tensor, value } from "./archive-builder.ts";

const fixtures = join(import.meta.dirname, "../fixtures/weights/checkpoints");
const expected: Record<string, Record<string, [number[], string]>> = JSON.parse(
  readFileSync(join(fixtures, "expected.json"), "utf8"),
);
const folder = mkdtempSync(join(tmpdir(), "voxsmith-checkpoint-"));
afterAll(() => rmSync(folder, { recursive: true }));

const digest = (data: Float32Array) =>
  createHash("sha256").update(new Uint8Array(data.buffer)).digest("hex").slice(0, 16);

describe("every layout gives transformers' names and the same numbers", () => {
  test.each(Object.keys(expected))("%s", (name) => {
    const checkpoint = openCheckpoint(join(fixtures, name));
    const found = Object.fromEntries(
      [...checkpoint.weights.infos.values()].map(({ name, shape }) => [
        name,
        [shape, digest(checkpoint.weights.readF32(name))],
      ]),
    );
    expect(found).toEqual(expected[name]);
    checkpoint.weights.close();
  });
});

describe("what each layout says of its model", () => {
  const open = (name: string): Checkpoint => {
    const checkpoint = openCheckpoint(join(fixtures, name));
    checkpoint.weights.close();
    return checkpoint;
  };
  const sizes = {
    hidden_size: 16,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 24,
    conv_dim: [8, 8, 8],
    conv_kernel: [10, 3, 3],
    conv_stride: [5, 2, 2],
    num_conv_pos_embeddings: 8,
    num_conv_pos_embedding_groups: 4,
  };

  test("wav2vec 2.0 pre-trained: quantiser sizes, dropouts, group norm without mask", () => {
    const { config, family, source, preprocessor, vocabulary } = open("wav2vec2-args.pt");
    expect({ family, source, vocabulary }).toEqual({
      family: "wav2vec2",
      source: "fairseq",
      vocabulary: undefined,
    });
    expect(config).toMatchObject({
      ...sizes,
      model_type: "wav2vec2",
      architectures: ["Wav2Vec2ForPreTraining"],
      num_codevectors_per_group: 5,
      num_codevector_groups: 2,
      codevector_dim: 12,
      proj_codevector_dim: 12,
      hidden_dropout: 0.1,
      attention_dropout: 0.05,
      feat_proj_dropout: 0.2,
      layerdrop: 0.05,
      feat_extract_norm: "group",
      do_stable_layer_norm: false,
      conv_bias: false,
    });
    expect(config).not.toHaveProperty("mask_time_prob");
    expect(preprocessor).toMatchObject({
      do_normalize: false,
      return_attention_mask: false,
      sampling_rate: 16000,
    });
  });

  test("XLS-R with omegaconf settings: enumerations, layer norm, stable layers", () => {
    const { config, preprocessor } = open("xlsr-omegaconf.pt");
    expect(config).toMatchObject({
      ...sizes,
      feat_extract_norm: "layer",
      do_stable_layer_norm: true,
      conv_bias: true,
      hidden_dropout: 0,
    });
    expect(preprocessor).toMatchObject({ do_normalize: true, return_attention_mask: true });
  });

  test("fine-tuned: outer dropouts and masking, dictionary inside", () => {
    const { config, vocabulary, notes } = open("wav2vec2-ctc-cfg.pt");
    expect(config).toMatchObject({
      ...sizes,
      architectures: ["Wav2Vec2ForCTC"],
      vocab_size: 9,
      hidden_dropout: 0,
      activation_dropout: 0.1,
      final_dropout: 0.3,
      feat_proj_dropout: 0,
      layerdrop: 0.15,
      mask_time_prob: 0.5,
      mask_time_length: 6,
      mask_feature_prob: 0.25,
      mask_feature_length: 64,
      apply_spec_augment: true,
      pad_token_id: 0,
    });
    expect([...vocabulary!]).toEqual([
      ["<pad>", 0],
      ["<s>", 1],
      ["</s>", 2],
      ["<unk>", 3],
      ["|", 4],
      ["E", 5],
      ["T", 6],
      ["A", 7],
      ["O", 8],
    ]);
    expect(notes).toEqual([]);
  });

  test("fine-tuned by argparse: dictionary beside the file", () => {
    const { config, vocabulary } = open("wav2vec2-ctc-args.pt");
    expect(config).toMatchObject({ layerdrop: 0.1, mask_time_prob: 0.65, vocab_size: 9 });
    expect(vocabulary!.get("O")).toBe(8);
    copyFileSync(join(fixtures, "wav2vec2-ctc-args.pt"), join(folder, "alone.pt"));
    const alone = openCheckpoint(join(folder, "alone.pt"));
    expect(alone.vocabulary).toBeUndefined();
    expect(alone.notes[0]).toMatch(/no dictionary inside or beside/);
    alone.weights.close();
    const named = openCheckpoint(join(folder, "alone.pt"), { dictionary: join(fixtures, "dict.ltr.txt") });
    expect(named.vocabulary!.size).toBe(9);
    named.weights.close();
    writeFileSync(join(folder, "short.txt"), "| 1\n");
    expect(() => openCheckpoint(join(folder, "alone.pt"), { dictionary: join(folder, "short.txt") })).toThrow(
      /short\.txt: the dictionary has 5 symbols, the output layer 9 rows/,
    );
  });

  test("HuBERT, fine-tuned and not, from fairseq and s3prl", () => {
    expect(open("hubert-omegaconf.pt")).toMatchObject({
      family: "hubert",
      config: { architectures: ["HubertModel"] },
    });
    expect(open("s3prl-hubert.pt")).toMatchObject({ family: "hubert", source: "s3prl" });
    const { config, preprocessor } = open("hubert-ctc-cfg.pt");
    expect(config).toMatchObject({
      architectures: ["HubertForCTC"],
      do_stable_layer_norm: true,
      apply_spec_augment: false,
    });
    expect(preprocessor).toMatchObject({ do_normalize: true });
  });

  test("data2vec: kernels of the stacked positional convolutions; its teacher is dropped by name", () => {
    const { config, plan } = open("data2vec-cfg.pt");
    expect(config).toMatchObject({
      model_type: "data2vec-audio",
      architectures: ["Data2VecAudioModel"],
      num_conv_pos_embeddings: 3,
      conv_pos_kernel_size: 5,
      num_conv_pos_embedding_groups: 4,
    });
    const dropped = plan.lines.filter(({ action }) => action === "dropped");
    expect(dropped.map(({ from }) => from)).toEqual(["final_proj.0.weight", "final_proj.0.bias", "_ema"]);
    expect(dropped.every(({ why }) => why.includes("pre-training"))).toBe(true);
    expect(open("data2vec-ctc-cfg.pt").config["architectures"]).toEqual(["Data2VecAudioForCTC"]);
  });

  test("WavLM: buckets", () => {
    const { config, source } = open("wavlm.pt");
    expect(source).toBe("WavLM");
    expect(config).toMatchObject({ ...sizes, model_type: "wavlm", num_buckets: 12, max_bucket_distance: 40 });
  });

  test("DeCoAR 2.0: sizes from the weights, a named drop list", () => {
    const { config, plan, notes, source } = open("decoar2.pt");
    expect(source).toBe("DeCoAR 2.0");
    expect(config).toMatchObject({
      model_type: "decoar2",
      hidden_size: 16,
      num_hidden_layers: 2,
      intermediate_size: 24,
    });
    expect(config).not.toHaveProperty("conv_dim");
    expect(plan.lines.filter(({ to }) => to === undefined).map(({ from }) => from)).toEqual([
      "mask_emb",
      "quantizer.vars",
      "final_proj.weight",
    ]);
    expect(notes).toEqual(["attention heads of 64 dimensions, as in every released model"]);
  });

  test.each([
    ["vq-wav2vec.pt", "fairseq", "vq-wav2vec", /^wav2vec_predictions\.project_to_steps/],
    ["pase-plus.ckpt", "PASE+", "pase-plus", /\.num_batches_tracked$/],
  ])("%s: its authors' names and settings, the rest dropped by name", (file, source, family, dropped) => {
    const reference = join(import.meta.dirname, "../fixtures/reference", `${family}-tiny`);
    const checkpoint = openCheckpoint(join(fixtures, file));
    expect([checkpoint.source, checkpoint.family]).toEqual([source, family]);
    // The reference folder has the same weights and says the configuration itself.
    const said = JSON.parse(readFileSync(join(reference, "config.json"), "utf8"));
    const shared = Object.keys(said).filter((key) => key in checkpoint.config);
    expect(shared.length).toBeGreaterThan(7);
    for (const key of shared) expect([key, checkpoint.config[key]]).toEqual([key, said[key]]);
    const same = openSafetensors(join(reference, "model.safetensors"));
    const names = [...same.infos.keys()].filter((name) => !name.startsWith("lm_head."));
    expect([...checkpoint.weights.infos.keys()].sort()).toEqual(names.sort());
    for (const name of names) expect(checkpoint.weights.readF32(name)).toEqual(same.readF32(name));
    const lines = checkpoint.plan.lines.filter(({ action }) => action === "dropped");
    expect(lines.length).toBeGreaterThan(0);
    for (const { from } of lines) expect(from).toMatch(dropped);
    for (const each of [checkpoint.weights, same]) each.close();
  });

  test("an s3prl run: sizes from the weights, notes say what is taken as usual; a frozen one is refused", () => {
    const { config, notes, family } = open("s3prl-run.ckpt");
    expect(family).toBe("hubert");
    const { num_attention_heads: _, ...shown } = sizes;
    expect(config).toMatchObject(shown);
    expect(notes).toHaveLength(2);
    expect(() => open("s3prl-frozen.ckpt")).toThrow(/upstream was frozen.*downstream head only/);
  });
});

const upstreams = referenceDir("upstreams");
test.skipIf(!upstreams)("the reference folders open under their own names, all kept", () => {
  for (const model of readdirSync(upstreams!)) {
    const checkpoint = openCheckpoint(join(upstreams!, model));
    expect(checkpoint.source).toBe("Hugging Face folder");
    expect(
      checkpoint.plan.lines.every(({ action }) => action === "kept"),
      model,
    ).toBe(true);
    checkpoint.weights.close();
  }
});

test("a bare base model in the older spelling opens under full, current names", () => {
  const path = join(folder, "bare");
  mkdirSync(path);
  writeFileSync(join(path, "config.json"), '{"model_type": "hubert"}');
  const one = (name: string) => ({ name, dtype: "F32" as const, shape: [1], data: Float32Array.of(1) });
  writeSafetensors(join(path, "model.safetensors"), [
    one("encoder.pos_conv_embed.conv.weight_g"),
    one("masked_spec_embed"),
  ]);
  writeSafetensors(join(path, "heads.safetensors"), [one("severity.weight"), one("label_embs_concat")]);
  const checkpoint = openCheckpoint(path);
  expect([...checkpoint.weights.infos.keys()].sort()).toEqual([
    "hubert.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
    "hubert.masked_spec_embed",
    "label_embs_concat",
  ]);
  expect(() => requirePretrainingHeads(checkpoint)).toThrow(
    /lacks the pre-training heads \(final_proj\.weight\)/,
  );
  checkpoint.weights.close();
  writeFileSync(join(path, "config.json"), '{"model_type": "bert"}');
  expect(() => openCheckpoint(path)).toThrow(/config\.json: model_type is "bert"; readable are wav2vec2, /);
});

test("continued pre-training: with the heads, without, and where there are none", () => {
  const check = (name: string) => {
    const checkpoint = openCheckpoint(join(fixtures, name));
    checkpoint.weights.close();
    requirePretrainingHeads(checkpoint);
  };
  for (const name of ["wav2vec2-args.pt", "xlsr-omegaconf.pt", "hubert-omegaconf.pt"]) check(name);
  expect(() => check("wav2vec2-ctc-cfg.pt")).toThrow(
    /lacks the pre-training heads \(quantizer\.codevectors, /,
  );
  expect(() => check("wavlm.pt")).toThrow(/of wavlm models is not supported/);
});

describe("refusals", () => {
  let weights: Uint8Array;
  beforeAll(() => {
    weights = dict({ "post_extract_proj.weight": tensor({ elements: 4, shape: [4], strides: [1] }) });
  });
  const file = (...items: Uint8Array[]) => {
    const path = join(folder, "case.pt");
    writeFileSync(path, archive(pickle(...items), { 0: new Uint8Array(16) }));
    return path;
  };
  const model = (settings: Uint8Array) => file(dict({ cfg: settings, model: weights }));

  test.each<[string, () => string, RegExp]>([
    ["a file that is not there", () => join(folder, "none.pt"), /none\.pt: does not exist/],
    ["a list", () => file(bytes("]")), /no dict at its top/],
    ["a bare state dict", () => file(weights), /holds no "model".*pytorch_model\.bin/],
    [
      "no settings",
      () => file(dict({ model: dict({ "layer_norm.weight": value(1) }) })),
      /neither "cfg" nor "args"/,
    ],
    [
      "a tensor without name",
      () => file(dict({ model: bytes("}", value(1), value(2), "s"), cfg: dict({ _name: value("hubert") }) })),
      /without a name/,
    ],
    ["DeCoAR 2.0 without layers", () => file(dict({ model: weights })), /lacks "decoar2\.encoder/],
  ])("%s", (_, make, message) => {
    expect(() => openCheckpoint(make())).toThrow(UserError);
    expect(() => openCheckpoint(make())).toThrow(message);
  });

  test("settings of models we do not build, and settings that are not there", () => {
    weights = dict({ "encoder.layers.0.fc1.bias": tensor({ elements: 4, shape: [4], strides: [1] }) });
    const settings = (items: Record<string, Uint8Array>) => dict({ model: dict(items) });
    expect(() => openCheckpoint(model(settings({ _name: value("transformer_lm") })))).toThrow(
      /kind "transformer_lm"; readable are wav2vec2, hubert, data2vec_audio, wavlm/,
    );
    expect(() =>
      openCheckpoint(model(settings({ _name: value("wav2vec_ctc"), w2v_path: value("/x.pt") }))),
    ).toThrow(/w2v_args.*fairseq itself would need "\/x\.pt"/);
    expect(() =>
      openCheckpoint(model(settings({ _name: value("wav2vec2"), layer_type: value("conformer") }))),
    ).toThrow(/layer_type "conformer", which we do not build/);
    expect(() =>
      openCheckpoint(
        model(settings({ _name: value("wav2vec2"), conv_feature_layers: value("__import__('os')") })),
      ),
    ).toThrow(/not a sum of lists/);
    weights = dict({
      "encoder.layers.0.self_attn.moe.weight": tensor({ elements: 4, shape: [4], strides: [1] }),
    });
    expect(() => openCheckpoint(model(settings({ _name: value("hubert") })))).toThrow(
      /1 tensors that no hubert model has: "encoder\.layers\.0\.self_attn\.moe\.weight"/,
    );
  });

  test("a bomb of shared settings, and a cycle", () => {
    weights = dict({ "encoder.layers.0.fc1.bias": tensor({ elements: 4, shape: [4], strides: [1] }) });
    const before = performance.now();
    const level = bytes("q", 0, "0}", value("a"), "h", 0, "s", value("b"), "h", 0, "s");
    const bomb = bytes("}", ...Array(40).fill(level));
    expect(() => openCheckpoint(model(bomb))).toThrow(UserError);
    const cycle = bytes("}q", 5, value("model"), "h", 5, "s");
    expect(() => openCheckpoint(model(cycle))).toThrow(UserError);
    const endless = bytes("}q", 5, value("w2v_args"), "h", 5, "s");
    expect(() => openCheckpoint(model(endless))).toThrow(/w2v_args within w2v_args/);
    const deep = bytes(...Array(500).fill(bytes("}", value("model"))), "N", ...Array(500).fill(bytes("s")));
    expect(() => openCheckpoint(model(deep))).toThrow(/nested more than/);
    const config = global("omegaconf.dictconfig", "DictConfig");
    const self = bytes(config, ")", 0x81, "q", 6, "}", value("_content"), "h", 6, "sb");
    expect(() => openCheckpoint(model(self))).toThrow(/nested more than/);
    expect(performance.now() - before).toBeLessThan(20_000);
  });
});

test("fuzz: a checkpoint with changed bytes opens or is refused by a sentence", () => {
  const path = join(folder, "fuzz.pt");
  for (const name of ["xlsr-omegaconf.pt", "wav2vec2-ctc-args.pt"]) {
    const whole = new Uint8Array(readFileSync(join(fixtures, name)));
    // Almost all of the file is weights: aim at the pickle, which the ZIP form has first and the legacy form too.
    const edits = fc.array(fc.tuple(fc.nat(11_000), fc.nat(255)), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(edits, (edits) => {
        const data = whole.slice();
        for (const [at, byte] of edits) data[at] = byte;
        writeFileSync(path, data);
        try {
          openCheckpoint(path).weights.close();
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          expect(error.message).toContain("fuzz.pt");
        }
      }),
      { numRuns: 150 },
    );
  }
});

describe("names", () => {
  test("both spellings of weight norm, there and back", () => {
    const old = ["a.weight_g", "a.weight_v", "weight_g"];
    const modern = ["a.parametrizations.weight.original0", "a.parametrizations.weight.original1"];
    expect(old.map(modernWeightNorm)).toEqual([...modern, "parametrizations.weight.original0"]);
    expect(old.map(modernWeightNorm).map(legacyWeightNorm)).toEqual(old);
    expect(modern.map(modernWeightNorm)).toEqual(modern);
    expect(modernWeightNorm("weight_gate.weight")).toBe("weight_gate.weight");
  });

  test("a bare base model gets its prefix, heads and full names do not", () => {
    const name = (text: string) => huggingFaceName(text, "data2vec-audio");
    expect(name("encoder.layers.0.attention.q_proj.weight")).toBe(
      "data2vec_audio.encoder.layers.0.attention.q_proj.weight",
    );
    expect(name("masked_spec_embed")).toBe("data2vec_audio.masked_spec_embed");
    expect(name("data2vec_audio.masked_spec_embed")).toBe("data2vec_audio.masked_spec_embed");
    expect(name("lm_head.weight")).toBe("lm_head.weight");
    expect(huggingFaceName("encoder.pos_conv_embed.conv.weight_g", "hubert")).toBe(
      "hubert.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
    );
  });

  test("heads", () => {
    expect(
      ["lm_head.bias", "quantizer.codevectors", "label_embs_concat", "hubert.encoder.x"].map(headOf),
    ).toEqual(["task", "pre-training", "pre-training", undefined]);
    expect(inTransformers("wav2vec2", "quantizer.codevectors")).toBe(true);
    expect(inTransformers("hubert", "label_embs_concat")).toBe(false);
    expect(inTransformers("decoar2", "decoar2.encoder.layer_norm.weight")).toBe(false);
  });

  test("two tensors for one name are refused; the plan prints as text", () => {
    expect(() => planNames("m", ["mask_emb", "model.mask_emb", "post_extract_proj.bias"], "wavlm")).toThrow(
      'm: both "mask_emb" and "model.mask_emb" are "wavlm.masked_spec_embed"',
    );
    expect(formatPlan(planNames("m", ["lm_head.bias", "encoder.layer_norm.bias"], "hubert"))).toEqual([
      "kept     lm_head.bias (Hugging Face's own name)",
      "renamed  encoder.layer_norm.bias -> hubert.encoder.layer_norm.bias (Hugging Face's own name)",
    ]);
    expect(formatPlan(planNames("m", ["_ema", "post_extract_proj.bias"], "data2vec-audio"))[0]).toMatch(
      /^dropped {2}_ema \(the teacher's/,
    );
  });
});

describe("settings", () => {
  test("convolution expressions", () => {
    const layers = (text: string) => convLayers("m", text);
    expect(layers("[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]")).toEqual([
      [512, 10, 5],
      ...Array(4).fill([512, 3, 2]),
      [512, 2, 2],
      [512, 2, 2],
    ]);
    expect(layers("[(1,2,3),(4,5,6)]*2")).toEqual([1, 4, 1, 4].map((n) => [n, n + 1, n + 2]));
    for (const bad of [
      "",
      "[]",
      "(1,2,3)",
      "[(1,2)]",
      "[(1,2,3)]*1000",
      "[(1,2,3)]*99999999",
      "[(a,b,c)]",
      `[${"(1,2,3),".repeat(300)}]`,
    ]) {
      expect(() => layers(bad), bad).toThrow(UserError);
    }
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          layers(text);
        } catch (error) {
          expect(error).toBeInstanceOf(UserError);
        }
      }),
    );
  });

  test("references are followed, unset values and endless references are absent", () => {
    const settings = plainOf(
      "m",
      new Map<string, unknown>([
        ["a", new Map([["x", 1]])],
        ["b", "\u0024{a.x}"],
        ["c", "\u0024{b}"],
        ["loop", "\u0024{loop}"],
        ["unset", "???"],
        ["enum", new Instance("fairseq.X", ["layer_norm"])],
      ]),
    );
    expect(
      ["a.x", "b", "c", "loop", "unset", "enum", "no.such"].map((path) => lookUp(settings, path)),
    ).toEqual([1, 1, 1, undefined, undefined, "layer_norm", undefined]);
  });

  test("dictionary files", () => {
    const path = join(folder, "dict.txt");
    writeFileSync(path, "| 94802\r\nE 51860\n\nnew york 3\n");
    expect(readDictionary(path)).toEqual(["<s>", "<pad>", "</s>", "<unk>", "|", "E", "new york"]);
    writeFileSync(path, "| 1\nE\n");
    expect(() => readDictionary(path)).toThrow(/dict\.txt:2: "E" is not a symbol and its count/);
    writeFileSync(path, "E 1\nE 2\n");
    expect(() => readDictionary(path)).toThrow(/dict\.txt:2: the symbol "E" is there twice/);
    expect(() => readDictionary(join(folder, "none.txt"))).toThrow(/does not exist/);
  });
});
