import fc from "fast-check";
import { logSoftmax } from "../../src/decode/ctc.ts";

export interface Case {
  frames: number;
  vocabulary: number;
  blank: number;
  logits: Float32Array;
}

/** Small random posteriors with the blank at any index. */
export const smallCase = (maxFrames: number, maxVocabulary: number): fc.Arbitrary<Case> =>
  fc
    .record({
      frames: fc.integer({ min: 1, max: maxFrames }),
      vocabulary: fc.integer({ min: 2, max: maxVocabulary }),
      blank: fc.nat(maxVocabulary - 1),
    })
    .chain(({ frames, vocabulary, blank }) =>
      fc
        .array(fc.float({ min: -4, max: 4, noNaN: true }), {
          minLength: frames * vocabulary,
          maxLength: frames * vocabulary,
        })
        .map((values) => ({
          frames,
          vocabulary,
          blank: blank % vocabulary,
          logits: Float32Array.from(values),
        })),
    );

/** Every path with its probability and the labels it collapses to. */
export function* paths({ frames, vocabulary, blank, logits }: Case) {
  const logProbs = logSoftmax(logits, frames, vocabulary);
  const path = new Array<number>(frames).fill(0);
  for (;;) {
    const probability = Math.exp(path.reduce((sum, v, t) => sum + logProbs[t * vocabulary + v], 0));
    yield { path: [...path], probability, tokens: path.filter((v, t) => v !== blank && v !== path[t - 1]) };
    let t = frames - 1;
    while (t >= 0 && path[t] === vocabulary - 1) path[t--] = 0;
    if (t < 0) return;
    path[t]++;
  }
}

/** Log probability of every label sequence, summed over its paths; keys join the tokens with blanks. */
export function sequences(example: Case): Map<string, number> {
  const total = new Map<string, number>();
  for (const { tokens, probability } of paths(example)) {
    const key = tokens.join(" ");
    total.set(key, (total.get(key) ?? 0) + probability);
  }
  return new Map([...total].map(([key, p]) => [key, Math.log(p)]));
}
