import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { clinicalFeatures } from "../src/audio/acoustics/clinical/clinical.ts";
import { egemaps } from "../src/audio/acoustics/egemaps.ts";
import { pretextLabels } from "../src/audio/acoustics/pretext.ts";
import { encodeWav } from "../src/audio/decode.ts";
import { readAudio } from "../src/audio/file.ts";
import { random } from "../src/random.ts";
import type { BenchOptions } from "./options.ts";

const seconds = 300;
const sampleRate = 16000;
const rounds = 5;

interface Timing {
  medianMs: number;
  /** Processor time: what counts when other programs share the machine. */
  cpuMs: number;
}

/**
 * Times eGeMAPS v02 (both descriptors and functionals), the pretext labels and the clinical features over 300 s of speech on
 * one thread and, where `peer` names a Python with opensmile, numpy and soundfile, its eGeMAPS v02 functionals on the same samples, in
 * alternating rounds. `json`: one object a line; ratio = the peer's processor time over ours, the median of the pairs.
 */
export async function benchFeatures({ json, peer }: BenchOptions): Promise<void> {
  const samples = await speech();
  const runs: [name: string, run: () => unknown][] = [
    ["eGeMAPS v02", () => egemaps(samples, sampleRate)],
    ["pretext labels", () => pretextLabels(samples, sampleRate)],
    ["clinical features", () => clinicalFeatures(samples, sampleRate)],
  ];
  for (const [name, run] of runs) {
    const theirs = peer && name.startsWith("eGeMAPS") ? await openPeer(peer, samples) : undefined;
    run(); // compiles it
    const mine: Timing[] = [];
    const others: Timing[] = [];
    for (let i = 0; i < rounds; i++) {
      mine.push(timed(run));
      if (theirs) others.push(await theirs.run());
    }
    theirs?.close();
    const ours = { ...medianTiming(mine), peakMB: process.resourceUsage().maxRSS / 1024 };
    report(
      json,
      name,
      ours,
      theirs && { name: "openSMILE", ...medianTiming(others) },
      pairRatio(mine, others),
    );
  }
}

function report(
  json: boolean,
  name: string,
  ours: Timing & { peakMB: number },
  peer: (Timing & { name: string }) | undefined,
  ratio: number | undefined,
): void {
  const realTime = (1000 * seconds) / ours.cpuMs;
  if (json) {
    console.log(JSON.stringify({ name, mode: "one thread", seconds, ours, peer, ratio, realTime }));
    return;
  }
  const ms = (x: number) => `${x.toFixed(0).padStart(6)} ms`;
  console.log(
    `${name.padEnd(20)} ${ms(ours.medianMs)} ${ms(ours.cpuMs)} CPU ${realTime.toFixed(0).padStart(5)} x real time`,
  );
  if (peer && ratio) {
    const said = `${peer.name.padEnd(20)} ${ms(peer.medianMs)} ${ms(peer.cpuMs)} CPU`;
    console.log(`${said}, ${ratio.toFixed(2)} times our processor time`);
  }
}

function timed(run: () => unknown): Timing {
  const start = performance.now();
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return { medianMs: performance.now() - start, cpuMs: (user + system) / 1000 };
}

function medianTiming(timings: Timing[]): Timing {
  return { medianMs: median(timings.map((t) => t.medianMs)), cpuMs: median(timings.map((t) => t.cpuMs)) };
}

function pairRatio(ours: Timing[], theirs: Timing[]): number | undefined {
  return theirs.length > 0 ? median(theirs.map((t, i) => t.cpuMs / ours[i].cpuMs)) : undefined;
}

function median(x: number[]): number {
  return x.sort((a, b) => a - b)[x.length >> 1];
}

/** 300 s of recorded speech where the reference recordings are at hand, else of tones with pauses. */
async function speech(): Promise<Float32Array> {
  const out = new Float32Array(seconds * sampleRate);
  const root = process.env["VOXSMITH_REFERENCE"] ?? resolve(import.meta.dirname, "../../shared/reference");
  const folder = join(root, "egemaps", "audio");
  const files = existsSync(folder) ? readdirSync(folder).filter((f) => f.startsWith("speechocean")) : [];
  if (files.length === 0) {
    const stream = random("bench", "features");
    let phase = 0;
    for (let i = 0; i < out.length; i++) {
      const t = i / sampleRate;
      phase += (2 * Math.PI * (140 + 40 * Math.sin(2 * t))) / sampleRate;
      for (let h = 1; h < 12; h++) out[i] += Math.sin(h * phase) / h;
      out[i] = 0.1 * out[i] * Math.max(0, Math.sin(5 * t)) + 0.002 * stream.normal();
    }
    return out;
  }
  for (let i = 0, at = 0; at < out.length; i++) {
    const { samples } = await readAudio(join(folder, files[i % files.length]), { sampleRate });
    const part = samples.subarray(0, out.length - at);
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** One JSON line of timings for each line that it reads. */
const peerProgram = `
import json, sys, time
import opensmile, soundfile
samples, rate = soundfile.read(sys.argv[1], dtype="float32")
smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
smile.process_signal(samples, rate)
for line in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    smile.process_signal(samples, rate)
    times = {"medianMs": 1000 * (time.perf_counter() - wall), "cpuMs": 1000 * (time.process_time() - cpu)}
    print(json.dumps(times), flush=True)
`;

async function openPeer(python: string, samples: Float32Array) {
  const folder = mkdtempSync(join(tmpdir(), "voxsmith-bench-"));
  const path = join(folder, "speech.wav");
  writeFileSync(path, encodeWav(samples, sampleRate));
  const program = spawn(python, ["-W", "ignore", "-c", peerProgram, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
  return {
    async run(): Promise<Timing> {
      program.stdin.write("run\n");
      const { value, done } = await lines.next();
      if (done)
        throw new Error(`${python} ended without an answer: are opensmile and soundfile installed there?`);
      return JSON.parse(value) as Timing;
    },
    close(): void {
      program.stdin.end();
      rmSync(folder, { recursive: true });
    },
  };
}
