/**
 * Writes a compiled word 4-gram model of about the size of LibriSpeech's official one (143 M n-grams), or of a share of it:
 * `node --import tsx bench/ours/ngrams.ts FILE SHARE`. Words, counts of followers and probabilities are drawn, with Zipf's law.
 */
import { type Level, ngramModel } from "../../src/decode/ngram.ts";
import { writeNgrams } from "../../src/decode/ngram-file.ts";
import { random } from "../../src/random.ts";
import { writeAtomically } from "../../src/weights/file.ts";

/** N-grams of LibriSpeech's 4-gram.arpa, as recalled; for the highest order a round number that is not too small. */
const SIZES = [200_003, 38_229_161, 49_712_290, 55_000_000];
const LETTERS =
  "eeeeeeeeeeeetttttttttaaaaaaaaoooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllcccuuummmwwffggyyppbbvk";

const [path, share] = process.argv.slice(2);
const rng = random("n-grams");

function spelledWords(count: number): string[] {
  const words = new Set<string>(["<unk>", "<s>", "</s>"]);
  for (let tried = 0; words.size < count; tried++) {
    // Frequent words are short.
    const letters = 1 + Math.floor(Math.log2(2 + words.size) * (0.3 + 0.5 * rng.next()));
    words.add(Array.from({ length: letters }, () => LETTERS[rng.int(LETTERS.length)]).join(""));
    if (tried > 100 * count) throw new Error("ran out of words");
  }
  return [...words];
}

/** The next order: `total` n-grams, each entry's followers being sorted words that are frequent rather than rare. */
function followers(above: Level, weight: (entry: number) => number, total: number, words: number): Level {
  const entries = above.word.length;
  let sum = 0;
  for (let i = 0; i < entries; i++) sum += weight(i);
  const first = new Int32Array(entries + 1);
  let owed = 0;
  for (let i = 0; i < entries; i++) {
    owed += (total * weight(i)) / sum;
    const count = Math.min(words >> 2, Math.floor(owed));
    owed -= count;
    first[i + 1] = first[i] + count;
  }
  above.first = first;
  const size = first[entries];
  const level: Level = {
    word: new Int32Array(size),
    logProb: new Float32Array(size),
    backoff: new Float32Array(size),
    first: new Int32Array(0),
  };
  for (let i = 0; i < entries; i++) {
    const count = first[i + 1] - first[i];
    let last = 1;
    for (let j = 0; j < count; j++) {
      const place = (j + rng.next()) / count;
      // "<s>" follows nothing; the others have each a word of their own.
      last = Math.min(words - (count - j), Math.max(last + 1, Math.floor(words * place ** 4)));
      level.word[first[i] + j] = last;
      level.logProb[first[i] + j] = (-0.5 - 3 * place) * Math.LN10;
      level.backoff[first[i] + j] = (-0.2 - 0.6 * rng.next()) * Math.LN10;
    }
  }
  return level;
}

const words = spelledWords(SIZES[0]);
const levels: Level[] = [
  {
    word: Int32Array.from({ length: words.length }, (_, i) => i),
    logProb: Float32Array.from({ length: words.length }, (_, i) => Math.log(0.09 / (i + 8))),
    backoff: Float32Array.from({ length: words.length }, () => (-0.2 - 0.6 * rng.next()) * Math.LN10),
    first: new Int32Array(0),
  },
];
for (const [n, size] of SIZES.entries()) {
  if (n === 0) continue;
  const weight = n === 1 ? (i: number) => 1 / (i + 8) : (i: number) => ((i * 2_654_435_761) % 1024) ** 2;
  levels.push(followers(levels[n - 1], weight, size * Number(share), words.length));
}
writeAtomically(path, (put) => writeNgrams(ngramModel(levels, words), put));
console.log(JSON.stringify(levels.map(({ word }) => word.length)));
