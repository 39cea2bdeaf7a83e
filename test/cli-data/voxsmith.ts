import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { encodeWav } from "../../src/audio/decode.ts";
import { random } from "../../src/random.ts";

const bin = resolve(import.meta.dirname, "../../bin/voxsmith.js");

export interface Said {
  status: number | null;
  stdout: string;
  /** Lines of stderr without those of progress. */
  said: string[];
}

/** Runs the command line in a folder. */
export function voxsmith(cwd: string, ...args: string[]): Promise<Said> {
  return new Promise((done, fail) => {
    const program = spawn(process.execPath, [bin, ...args], { cwd });
    let stdout = "";
    let stderr = "";
    program.stdout.on("data", (chunk) => (stdout += chunk));
    program.stderr.on("data", (chunk) => (stderr += chunk));
    program.on("error", fail).on("close", (status) => {
      const said = stderr
        .split("\n")
        .filter((line) => line !== "" && !/^\w+ .*\d+\/\d+ \(\d+ %\)/.test(line));
      done({ status, stdout, said });
    });
  });
}

/** A voice-like recording: a pulse train of 120 Hz through two resonances, with pauses and a little noise. */
export function writeVoice(path: string, seed: number, seconds = 0.8, sampleRate = 16000): void {
  const chance = random("voice", seed);
  const samples = new Float32Array(Math.round(seconds * sampleRate));
  let phase = 0;
  for (let i = 0; i < samples.length; i++) {
    const t = i / sampleRate;
    phase += (2 * Math.PI * (110 + 10 * seed + 8 * Math.sin(3 * t))) / sampleRate;
    let x = 0;
    for (let h = 1; h < 15; h++) x += Math.sin(h * phase) / (1 + ((h * 120 - 600) / 300) ** 2);
    samples[i] = 0.1 * x * Math.max(0, Math.sin(9 * t)) + 0.001 * chance.normal();
  }
  writeFileSync(path, encodeWav(samples, sampleRate));
}
