import { join } from "node:path";
import { readLines } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { choiceOption, filesBelow, firstOf, needFiles, type Reader, stem } from "./reader.ts";

const layout =
  "audio/M04/M04_B1_C1_M2.wav, control speakers as audio/control/CM01 or audio/CM01, mlf/M04/M04_word.mlf";

/** Intelligibility in percent of words that listeners understood (H. Kim et al., 2008). */
const intelligibility: Record<string, number> = {
  M04: 2,
  F03: 6,
  M12: 7,
  M01: 17,
  M07: 28,
  F02: 29,
  M06: 39,
  M16: 43,
  M05: 58,
  M11: 62,
  F04: 62,
  M09: 86,
  M14: 90,
  M08: 93,
  M10: 93,
  F05: 95,
};

/** UASpeech: English words by speakers with cerebral palsy, and controls. */
export const uaspeech: Reader = {
  title: "UASpeech: isolated words, dysarthric and control speakers",
  layout,
  options: {
    microphone: "M5 (default), another one of M2 to M8, or all",
    controls: "yes (default) or no",
  },
  read(folder, options) {
    const microphone = options.microphone ?? "M5";
    const controls = choiceOption(options, "controls", ["yes", "no"]) === "yes";
    const root = firstOf(folder, "audio", "noisereduce") ?? folder;
    const texts = new Map(
      filesBelow(join(folder, "mlf"), "_word.mlf").flatMap((file) =>
        readMasterLabels(join(folder, "mlf", file)),
      ),
    );
    return needFiles(root, layout, ".wav").flatMap((file): Utterance[] => {
      const id = stem(file);
      const [speaker, block, word, mic] = id.split("_");
      const control = speaker.startsWith("C");
      if (mic === undefined || (microphone !== "all" && mic !== microphone) || (control && !controls))
        return [];
      const percent = intelligibility[speaker];
      const text = texts.get(id) ?? texts.get(`${speaker}_${block}_${word}`);
      return [
        {
          id,
          audio: join(root, file),
          speaker,
          ...(text !== undefined && { text }),
          labels: {
            word: /^UW/.test(word) ? `${block}_${word}` : word,
            block,
            gender: speaker.includes("F") ? "female" : "male",
            dysarthria: control ? "no" : "yes",
            ...(percent !== undefined && { intelligibility: percent }),
            severity: control ? "none" : severityOf(percent),
          },
          // The usual division: the second block, with the same common words and other rare ones, is the test.
          split: block === "B2" ? "test" : "train",
        },
      ];
    });
  },
};

/** The corpus' own four classes of intelligibility. */
function severityOf(percent: number | undefined): string {
  if (percent === undefined) return "unknown";
  return percent <= 25 ? "very low" : percent <= 50 ? "low" : percent <= 75 ? "mid" : "high";
}

/** HTK master label files: a quoted pattern, the words, a full stop. */
function readMasterLabels(path: string): [string, string][] {
  const labels: [string, string][] = [];
  let name = "";
  let words: string[] = [];
  for (const { text } of readLines(path)) {
    const line = text.trim();
    if (line.startsWith('"')) {
      name = stem(line.slice(1, -1));
      words = [];
    } else if (line === ".") {
      labels.push([name, words.join(" ")]);
    } else if (!line.startsWith("#")) {
      words.push(line.split(/\s+/).at(-1)!);
    }
  }
  return labels;
}
