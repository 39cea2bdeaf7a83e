import fc from "fast-check";
import { expect, test } from "vitest";
import { attentionBeam } from "../../src/decode/attention-beam.ts";
import { logSoftmax } from "../../src/decode/ctc.ts";
import { random } from "../../src/random.ts";

// Two symbols and the end over four frames: few enough sequences to judge each of them by itself.

const [VOCABULARY, END, FRAMES] = [3, 2, 4];

/** A decoder and a language model that are functions of what was written. */
function models(seed: number) {
  const drawn = (what: string, prefix: readonly number[], size: number, spread: number) => {
    const chance = random(seed, what, prefix.join());
    return logSoftmax(
      Array.from({ length: size }, () => spread * chance.normal()),
      1,
      size,
    );
  };
  return {
    logs: (prefix: readonly number[]) => drawn("decoder", prefix, VOCABULARY, 1),
    language: (prefix: readonly number[]) => drawn("language", prefix, VOCABULARY, 2),
    attention: (prefix: readonly number[]) => drawn("attention", prefix, FRAMES, 2).map(Math.exp),
  };
}

const settings = fc.record({
  eosThreshold: fc.constantFrom(1, 1.5, 3, 100),
  maxShift: fc.integer({ min: 1, max: 4 }),
  coverage: fc.constantFrom(0, 1.5, 4),
  weight: fc.constantFrom(0, 0.5, 2),
});

test("with a beam as wide as everything it finds the best sequence under all of its terms", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 4 }), settings, async (seed, longest, s) => {
      const { logs, language, attention } = models(seed);
      const peak = (prefix: readonly number[]) => {
        const row = attention(prefix);
        return row.indexOf(Math.max(...row));
      };
      /** What each next symbol adds to a sequence's score; undefined where none may follow. */
      const gains = (prefix: readonly number[]): number[] | undefined => {
        const before = prefix.length === 0 ? 0 : peak(prefix.slice(0, -1));
        if (Math.abs(peak(prefix) - before) > s.maxShift) return undefined;
        const seen = Array.from({ length: FRAMES }, (_, t) =>
          Array.from({ length: prefix.length + 1 }, (_, n) => attention(prefix.slice(0, n))[t]).reduce(
            (a, b) => a + b,
          ),
        );
        const again = seen.reduce((sum, share) => sum + Math.max(0, share - 0.5), 0);
        const own = [...logs(prefix)];
        const others = language(prefix);
        const gain = own.map(
          (log, v) => log + s.weight * others[v] - (s.coverage * again) / (prefix.length + 1),
        );
        const last = prefix.length + 1 === longest;
        if (!last && own[END] <= s.eosThreshold * Math.max(own[0], own[1]))
          gain[END] = Number.NEGATIVE_INFINITY;
        return gain;
      };
      let best = { score: Number.NEGATIVE_INFINITY, tokens: [] as number[] };
      const visit = (prefix: number[], score: number) => {
        const gain = gains(prefix);
        if (gain === undefined) return;
        const total = (score + gain[END]) / (prefix.length + 1);
        if (total > best.score) best = { score: total, tokens: prefix };
        if (prefix.length + 1 < longest) for (const v of [0, 1]) visit([...prefix, v], score + gain[v]);
      };
      visit([], 0);
      fc.pre(best.score > Number.NEGATIVE_INFINITY);

      let prefixes: number[][] = [];
      const found = await attentionBeam({
        ...{ start: END, end: END, beam: 64, longest, ...s },
        async step(newest, parents) {
          prefixes =
            prefixes.length === 0 ? [[]] : newest.map((token, i) => [...prefixes[parents[i]], token]);
          return {
            logs: prefixes.flatMap((prefix) => [...logs(prefix)]),
            attention: prefixes.flatMap((prefix) => [...attention(prefix)]),
            fused: prefixes.flatMap((prefix) => [...language(prefix).map((log) => s.weight * log)]),
          };
        },
      });
      expect(found.tokens).toEqual(best.tokens);
      expect(found.score).toBeCloseTo(best.score, 4);
    }),
    { numRuns: 200 },
  );
});

test("a narrow beam follows the likeliest, and a language model turns it", async () => {
  const told = async (fused?: number[]) => {
    const { tokens } = await attentionBeam({
      ...{ start: END, end: END, beam: 1, longest: 3, eosThreshold: 1.5, maxShift: 9, coverage: 0 },
      async step(newest) {
        const logs = newest[0] === END ? [-0.4, -1.2, -9] : [-9, -9, -0.01];
        return { logs, attention: [1, 0], ...(fused && { fused }) };
      },
    });
    return tokens;
  };
  expect(await told()).toEqual([0]);
  expect(await told([-3, -1, -1])).toEqual([1]);
});
