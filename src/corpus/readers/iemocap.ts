import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { readLines } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { choiceOption, filesBelow, foldersIn, numberOption, type Reader } from "./reader.ts";

const layout =
  "Session1 to Session5, each with sentences/wav/DIALOG/*.wav, dialog/EmoEvaluation/*.txt, dialog/transcriptions/*.txt";

/** The four classes in use: happiness and excitement are one. */
const four: Record<string, string> = { neu: "neutral", ang: "angry", sad: "sad", hap: "happy", exc: "happy" };

/** IEMOCAP. */
export const iemocap: Reader = {
  title: "IEMOCAP: acted dialogues with emotions, five sessions of two speakers",
  layout,
  options: {
    classes: "four (default): neutral, angry, sad, happy with excited; all: as labelled",
    test: "the session that is the test part (1 to 5); the others are for training. Default: no parts, sessions as labels",
  },
  read(folder, options) {
    const classes = choiceOption(options, "classes", ["four", "all"]);
    const test = numberOption(options, "test");
    const sessions = foldersIn(folder).filter((name) => /^Session[1-5]$/.test(name));
    if (sessions.length === 0) throw new UserError(`${folder}: no folder Session1; expected ${layout}`);
    return sessions.flatMap((session) => {
      const number = Number(session.at(-1));
      const dialog = join(folder, session, "dialog");
      const texts = new Map(
        filesBelow(join(dialog, "transcriptions"), ".txt").flatMap((file) =>
          readLines(join(dialog, "transcriptions", file)).flatMap(({ text }) => {
            const match = /^(Ses\S+)\s+\[[^\]]*\]:\s*(.*)$/.exec(text);
            return match === null ? [] : [[match[1], match[2]] as const];
          }),
        ),
      );
      const evaluation = join(dialog, "EmoEvaluation");
      return filesBelow(evaluation, ".txt")
        .filter((file) => !file.includes("/"))
        .flatMap((file) =>
          readLines(join(evaluation, file)).flatMap(({ text }): Utterance[] => {
            const match = /^\[([\d.]+) - ([\d.]+)\]\t(\S+)\t(\w+)\t\[([\d.]+), ([\d.]+), ([\d.]+)\]/.exec(
              text,
            );
            if (match === null) return [];
            const [, start, end, id, label, valence, activation, dominance] = match;
            const emotion = classes === "four" ? four[label] : label;
            if (emotion === undefined) return [];
            const part = id.slice(0, id.lastIndexOf("_"));
            const gender = id.slice(id.lastIndexOf("_") + 1)[0] === "F" ? "female" : "male";
            return [
              {
                id,
                audio: join(folder, session, "sentences", "wav", part, `${id}.wav`),
                duration: Number(end) - Number(start),
                speaker: `Ses0${number}${gender === "female" ? "F" : "M"}`,
                ...(texts.has(id) && { text: texts.get(id) }),
                labels: {
                  emotion,
                  session: number,
                  gender,
                  valence: Number(valence),
                  activation: Number(activation),
                  dominance: Number(dominance),
                },
                ...(test !== undefined && { split: number === test ? "test" : "train" }),
              },
            ];
          }),
        );
    });
  },
};
