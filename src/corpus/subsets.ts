import { UserError } from "../errors.ts";
import { random } from "../random.ts";
import { groupBy } from "./group.ts";
import type { Utterance } from "./manifest.ts";

/** Seconds of an utterance, which must be known. */
function secondsOf({ id, duration, start = 0, end }: Utterance): number {
  const seconds = duration ?? (end === undefined ? undefined : end - start);
  if (seconds === undefined) throw new UserError(`the duration of utterance "${id}" is not known`);
  return seconds;
}

/**
 * A random part of a corpus, in the corpus' order: utterances in order of chance until `hours` are reached.
 *
 * @param keep a group that each must have an utterance in the part, such as its speaker: one utterance of every group
 *   is taken first
 * @throws UserError where the corpus is shorter, or the groups alone are longer
 */
export function sampleHours(
  utterances: readonly Utterance[],
  hours: number,
  seed: number,
  keep?: (utterance: Utterance) => string | undefined,
): Utterance[] {
  const wanted = hours * 3600;
  const total = utterances.reduce((sum, u) => sum + secondsOf(u), 0);
  if (total < wanted) {
    throw new UserError(`${hours} hours were asked for, but there are only ${(total / 3600).toFixed(2)}`);
  }
  const byId = [...utterances].sort((a, b) => (a.id < b.id ? -1 : 1));
  const order = random(seed, "sample hours").shuffle(byId);
  const first = keep === undefined ? [] : [...groupBy(order, keep).values()].map((group) => group[0]);
  const taken = new Set(first);
  let seconds = first.reduce((sum, u) => sum + secondsOf(u), 0);
  if (seconds > wanted) {
    throw new UserError(`${hours} hours are too few for one utterance of each of ${first.length} groups`);
  }
  for (const utterance of order) {
    if (seconds >= wanted) break;
    if (taken.has(utterance)) continue;
    taken.add(utterance);
    seconds += secondsOf(utterance);
  }
  return utterances.filter((u) => taken.has(u));
}

/**
 * Words as classes for the estimate of conditional independence (Zaiem et al., 2022): every word with at least `least`
 * occurrences and letters, the first `each` of them as segments of their own. Utterances need words with times.
 */
export function frequentWords(
  utterances: readonly Utterance[],
  { least = 300, each = 300, letters = 5 }: { least?: number; each?: number; letters?: number } = {},
): Utterance[] {
  const spoken = utterances.flatMap((utterance) =>
    (utterance.words ?? []).flatMap((word, i) =>
      typeof word === "object" && "start" in word
        ? [{ utterance, ...word, word: word.word.toLowerCase(), i }]
        : [],
    ),
  );
  return [...groupBy(spoken, (s) => s.word)]
    .filter(([word, all]) => all.length >= least && [...word].length >= letters)
    .flatMap(([word, all]) =>
      all.slice(0, each).map(({ utterance, start, end, i }): Utterance => {
        const offset = utterance.start ?? 0;
        const { speaker, audio } = utterance;
        return {
          id: `${utterance.id}-${i}`,
          audio,
          start: offset + start,
          end: offset + end,
          ...(speaker !== undefined && { speaker }),
          text: word,
          labels: { word },
        };
      }),
    );
}
