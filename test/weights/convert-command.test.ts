import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openSafetensors } from "../../src/weights/safetensors.ts";
import { voxsmith } from "../cli-data/voxsmith.ts";

const fixtures = join(import.meta.dirname, "../fixtures");
const checkpoints = join(fixtures, "weights/checkpoints");
const scratch = mkdtempSync(join(tmpdir(), "voxsmith-convert-command-"));
afterAll(() => rmSync(scratch, { recursive: true }));

describe("voxsmith convert", () => {
  test("prints what becomes of each tensor, and why; writes the folder", async () => {
    const source = join(checkpoints, "data2vec-cfg.pt");
    const { status, stdout } = await voxsmith(scratch, "convert", source, "data2vec", "--to", "hf");
    expect(status).toBe(0);
    const lines = stdout.trim().split("\n");
    expect(lines[0]).toMatch(/^fairseq, data2vec-audio: 0 tensors kept, \d+ renamed, \d+ dropped$/);
    expect(lines.filter((line) => line.startsWith("dropped")).join("\n")).toMatch(
      /dropped {2}final_proj\.\S+ \(data2vec's regression head/,
    );
    expect(lines).toContain(
      "renamed  encoder.layers.0.fc1.bias -> data2vec_audio.encoder.layers.0.feed_forward.intermediate_dense.bias (fairseq's name for it)",
    );
    expect(readdirSync(join(scratch, "data2vec")).sort()).toEqual([
      "config.json",
      "model.safetensors",
      "preprocessor_config.json",
    ]);
  });

  test("one safetensors file; the plan as JSON; a dry run writes nothing", async () => {
    const source = join(fixtures, "reference/wav2vec2-tiny");
    const dry = await voxsmith(
      scratch,
      "convert",
      source,
      "dry/x.safetensors",
      "--to",
      "safetensors",
      "--dry-run",
    );
    expect([dry.status, existsSync(join(scratch, "dry"))]).toEqual([0, false]);
    expect(dry.stdout).toMatch(/nothing written\n$/);
    const args = ["convert", source, "new/x.safetensors", "--to", "safetensors", "--json"];
    const { status, stdout } = await voxsmith(scratch, ...args);
    expect(status).toBe(0);
    const { plan, family } = JSON.parse(stdout);
    expect(family).toBe("wav2vec2");
    expect(plan.every((line: { action: string; why: string }) => line.action === "kept" && line.why)).toBe(
      true,
    );
    const written = openSafetensors(join(scratch, "new/x.safetensors"));
    expect(written.infos.size).toBe(plan.length);
    written.close();
  });

  test("a Hugging Face folder keeps its side files, and float32 what it was narrowed to", async () => {
    const source = join(scratch, "ctc");
    const pt = join(checkpoints, "wav2vec2-ctc-cfg.pt");
    expect((await voxsmith(scratch, "convert", pt, source, "--to", "hf")).status).toBe(0);
    const { stdout } = await voxsmith(scratch, "convert", source, "again", "--to", "hf", "--json");
    expect(JSON.parse(stdout).files.sort()).toEqual(readdirSync(source).sort());
    for (const name of [
      "vocab.json",
      "tokenizer_config.json",
      "preprocessor_config.json",
      "model.safetensors",
    ])
      expect(readFileSync(join(scratch, "again", name)).equals(readFileSync(join(source, name))), name).toBe(
        true,
      );
  });

  test("refusals: one sentence and status 2", async () => {
    const pt = join(checkpoints, "wavlm.pt");
    for (const [args, sentence] of [
      [[pt, "x"], /required option '?`?--to/],
      [[pt, "x", "--to", "onnx"], /Allowed choices are hf, safetensors/],
      [[pt, ".", "--to", "hf"], /\.: exists already/],
      [["absent.pt", "x", "--to", "hf"], /is no folder, no file, and no name of the hub/],
    ] as const) {
      const { status, said } = await voxsmith(scratch, "convert", ...args);
      expect(status).toBe(2);
      expect(said.join("\n")).toMatch(sentence);
      expect(said.length).toBe(1);
    }
  });
});
