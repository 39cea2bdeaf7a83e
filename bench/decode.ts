import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { type BeamOptions, beamSearch } from "../src/decode/beam.ts";
import { greedyDecode } from "../src/decode/ctc.ts";
import { labelScorer, lexiconScorer } from "../src/decode/lexicon.ts";
import { type Level, type NgramModel, ngramModel } from "../src/decode/ngram.ts";
import { errorRate } from "../src/metrics/error-rate.ts";
import { random } from "../src/random.ts";
import { openLanguageModel, TOKEN_THRESHOLD } from "../src/train/language-model.ts";
import type { BenchOptions } from "./options.ts";
import { median } from "./worker-process.ts";

/** What a CTC head over English letters writes: the blank, the space between words, the letters. */
const SYMBOLS = ["<pad>", "|", ..."abcdefghijklmnopqrstuvwxyz'"];
const FRAMES_A_SECOND = 50;
const UTTERANCES = 8;
const SENTENCE = 35;

/**
 * Beam search with language models over generated emissions, one thread, and the memory that the models take. `share`: size of the
 * word model as a share of LibriSpeech's 4-gram.
 */
export async function benchDecode({ json, rounds, share = 0.05, only }: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "bench-decode-"));
  try {
    const path = process.env.VOXSMITH_BENCH_LM ?? join(folder, "4-gram.ngram");
    if (!existsSync(path)) {
      const program = new URL("./ours/ngrams.ts", import.meta.url).pathname;
      const made = spawnSync(process.execPath, ["--import", "tsx", program, path, String(share)], {
        encoding: "utf8",
      });
      if (made.status !== 0) throw new Error(made.stderr);
    }
    const load = loadavg()[0];
    let began = performance.now();
    const model = await openLanguageModel(path);
    const openSeconds = (performance.now() - began) / 1000;
    const heard = Array.from({ length: UTTERANCES }, (_, i) => utterance(model, i));
    const seconds = heard.reduce((sum, { frames }) => sum + frames, 0) / FRAMES_A_SECOND;

    began = performance.now();
    const entries = model.words.slice(3).map((word) => ({
      word,
      spelling: [...[...word].map((letter) => SYMBOLS.indexOf(letter)), 1],
    }));
    const words = lexiconScorer(entries, model, { weight: 2, wordScore: -1, separator: 1 });
    const trieSeconds = (performance.now() - began) / 1000;
    const letters = labelScorer(letterModel(), SYMBOLS, { weight: 2, labelScore: -1 });
    const greedy = heard.map(({ logits, frames }) =>
      greedyDecode(logits, frames, SYMBOLS.length).map(({ token }) => token),
    );
    const modes = {
      "lexicon of 200,000 words, 4-gram over words": timed(words),
      "without a lexicon, 4-gram over letters": timed(letters),
    };
    function timed<S>(scorer: BeamOptions<S>["scorer"]) {
      return () =>
        heard.map(
          ({ logits, frames }) =>
            beamSearch(logits, frames, SYMBOLS.length, {
              width: 50,
              tokenThreshold: TOKEN_THRESHOLD,
              scorer,
            })[0].tokens,
        );
    }
    for (const [name, decode] of Object.entries(modes)) {
      if (!name.includes(only)) continue;
      const times: [wall: number, processor: number][] = [];
      let tokens: number[][] = [];
      for (let round = 0; round <= rounds; round++) {
        const [start, cpu] = [performance.now(), process.cpuUsage()];
        tokens = decode();
        const { user, system } = process.cpuUsage(cpu);
        if (round > 0) times.push([(performance.now() - start) / 1000, (user + system) / 1e6]);
      }
      const wer = (of: readonly number[][]) =>
        errorRate(
          heard.map(({ words }) => words),
          of.map((one) =>
            one
              .map((t) => SYMBOLS[t])
              .join("")
              .split("|")
              .filter(Boolean),
          ),
        ).rate;
      const row = {
        name: `decode: beam 50, ${name}`,
        timesRealTime: Math.round(seconds / median(times.map(([wall]) => wall))),
        byProcessorTime: Math.round(seconds / median(times.map(([, processor]) => processor))),
        audioSeconds: Math.round(seconds),
        wordErrorRate: round3(wer(tokens)),
        greedy: round3(wer(greedy)),
        ngrams: model.levels.map(({ word }) => word.length),
        openSeconds: round3(openSeconds),
        trieSeconds: round3(trieSeconds),
        peakMB: Math.round(process.resourceUsage().maxRSS / 1024),
        load,
      };
      console.log(
        json
          ? JSON.stringify(row)
          : `${row.name} | ${row.timesRealTime} times real time on one thread (${row.byProcessorTime} by processor time; ${row.audioSeconds} s of speech) | words wrong ${row.wordErrorRate}, greedy ${row.greedy} | ${row.ngrams.join(" + ")} n-grams opened in ${row.openSeconds} s, words in ${row.trieSeconds} s, peak ${row.peakMB} MB | load ${load.toFixed(1)}`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const round3 = (x: number) => Math.round(1000 * x) / 1000;

/** A sentence that the model finds likely, and what a CTC head of an error rate of about a tenth makes of it. */
function utterance(model: NgramModel, seed: number) {
  const rng = random("utterance", seed);
  const words: string[] = [];
  let { start: history } = model;
  while (words.length < SENTENCE) {
    const word = next(model, history.entries(), rng);
    ({ history } = model.score(history, word));
    words.push(model.words[word]);
  }
  const V = SYMBOLS.length;
  const rows: number[][] = [];
  const frame = (token: number, sure: number) => {
    const row = Array.from({ length: V }, () => 1.5 * rng.normal() - 2);
    row[token] = sure;
    rows.push(row);
    return row;
  };
  for (const symbol of words.flatMap((word) => [...word, "|"])) {
    const token = SYMBOLS.indexOf(symbol);
    const other = 2 + rng.int(V - 2);
    const missed = symbol !== "|" && rng.next() < 0.12;
    for (let i = rng.int(2); i >= 0; i--) {
      const row = frame(token, 8);
      if (missed) row[other] = 8 + rng.normal();
    }
    for (let i = rng.int(4); i > 0; i--) frame(0, 9);
  }
  return { words, frames: rows.length, logits: Float32Array.from(rows.flat()) };
}

/** A follower of the longest history that has any, mostly; or any word. */
function next(
  { levels, words }: NgramModel,
  history: readonly number[],
  rng: ReturnType<typeof random>,
): number {
  for (let k = history.length - 1; k >= 0; k--) {
    const entry = history[k];
    if (entry < 0 || rng.next() > 0.8) continue;
    const [from, to] = [levels[k].first[entry], levels[k].first[entry + 1]];
    const chosen = to > from ? levels[k + 1].word[from + Math.floor((to - from) * rng.next() ** 2)] : 0;
    if (chosen > 2) return chosen;
  }
  return 3 + Math.floor((words.length - 3) * rng.next() ** 4);
}

/** All letters after any three. */
function letterModel(): NgramModel {
  const rng = random("letters");
  const words = ["<s>", "</s>", ...SYMBOLS.slice(1)];
  const levels: Level[] = [];
  for (let n = 0, size = words.length; n < 4; n++, size *= words.length) {
    const draw = (low: number, high: number) =>
      Float32Array.from({ length: size }, () => low + (high - low) * rng.next());
    levels.push({
      word: Int32Array.from({ length: size }, (_, i) => i % words.length),
      logProb: draw(-5, -1),
      backoff: draw(-1, -0.2),
      first: n < 3 ? Int32Array.from({ length: size + 1 }, (_, i) => i * words.length) : new Int32Array(0),
    });
  }
  return ngramModel(levels, words);
}
