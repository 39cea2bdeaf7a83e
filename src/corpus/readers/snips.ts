import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { readLines } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { filesBelow, firstOf, need, type Reader, stem } from "./reader.ts";

const layout = "all.iob.snips.txt and {train,valid,test}/Ivy-snips-train-0.wav (below SNIPS or directly)";

/** Audio SNIPS, SUPERB's slot filling: synthetic speakers that read the SNIPS utterances. */
export const audioSnips: Reader = {
  title: "Audio SNIPS: voice assistant requests with slots and intents",
  layout,
  options: { speakers: "voices to read, with commas; default all that are there" },
  read(folder, options) {
    const root = firstOf(folder, "SNIPS") ?? folder;
    const wanted = options.speakers?.split(",");
    const path = need(root, "all.iob.snips.txt", layout);
    const lines = new Map(readLines(path).map(({ line, text }) => parseLine(path, line, text)));
    return ["train", "valid", "test"].flatMap((split) =>
      filesBelow(join(root, split), ".wav", ".mp3").flatMap((file): Utterance[] => {
        const id = stem(file);
        const [speaker] = id.split("-");
        // s3prl's preparation names the speaker in the table too.
        const known = lines.get(id) ?? lines.get(id.slice(speaker.length + 1));
        if (known === undefined || (wanted !== undefined && !wanted.includes(speaker))) return [];
        return [{ id, audio: join(root, split, file), speaker, ...known, split }];
      }),
    );
  },
};

/** "snips-train-0 BOS add sun to my list EOS<TAB>O O B-x I-x ... Intent" */
function parseLine(path: string, line: number, text: string) {
  const [left, right] = text.split("\t");
  const [id, ...spoken] = left.trim().split(/\s+/);
  const tags = right?.trim().split(/\s+/) ?? [];
  const words = spoken.filter((word) => word !== "BOS" && word !== "EOS");
  // One tag for BOS, one a word, and the intent in the place of EOS.
  if (tags.length !== words.length + 2) {
    throw new UserError(
      `${path}:${line}: expected "id BOS words EOS<TAB>tags intent" with a tag for each word`,
    );
  }
  return [
    id,
    { text: words.join(" "), ...readTags(words, tags.slice(1, -1), tags[tags.length - 1]) },
  ] as const;
}

/**
 * Slots, and the text with each value between `B-slot` and `E-slot` (label `tagged`), as SUPERB's slot filling spells it:
 * punctuation is left out and & is a word. Tags are bare, where neighbours with the same one are one value, or begin with B- and I-.
 */
function readTags(words: readonly string[], tags: readonly string[], intent: string) {
  const slots: Record<string, string> = {};
  const tagged: string[] = [];
  const slotOf = (tag: string | undefined) =>
    tag === undefined || tag === "O" ? undefined : tag.replace(/^[BI]-/, "");
  words.forEach((word, i) => {
    const slot = slotOf(tags[i]);
    const begins = slot !== undefined && (tags[i].startsWith("B-") || slot !== slotOf(tags[i - 1]));
    const goesOn = slot !== undefined && slot === slotOf(tags[i + 1]) && !tags[i + 1].startsWith("B-");
    if (begins) slots[slot] = slots[slot] === undefined ? word : `${slots[slot]}, ${word}`;
    else if (slot !== undefined) slots[slot] = `${slots[slot]} ${word}`;
    if (begins) tagged.push(`B-${slot}`);
    if (!"?!.,;-".includes(word)) tagged.push(word === "&" ? "AND" : word.toUpperCase());
    if (slot !== undefined && !goesOn) tagged.push(`E-${slot}`);
  });
  return { slots, labels: { intent, tagged: tagged.join(" ") } };
}
