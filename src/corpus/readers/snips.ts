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
        const known = lines.get(id.slice(speaker.length + 1));
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
  const slots: Record<string, string> = {};
  words.forEach((word, i) => {
    const [mark, slot] = [tags[i + 1].slice(0, 2), tags[i + 1].slice(2)];
    if (mark === "B-") slots[slot] = slots[slot] === undefined ? word : `${slots[slot]}, ${word}`;
    else if (mark === "I-") slots[slot] = slots[slot] === undefined ? word : `${slots[slot]} ${word}`;
  });
  return [id, { text: words.join(" "), slots, labels: { intent: tags[tags.length - 1] } }] as const;
}
