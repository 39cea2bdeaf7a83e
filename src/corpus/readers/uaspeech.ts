import { join } from "node:path";
import { readLines } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { choiceOption, filesBelow, firstOf, needFiles, type Reader, stem } from "./reader.ts";

const layout =
  "audio/M04/M04_B1_C1_M2.wav, control speakers as audio/control/CM01 or audio/CM01, mlf/M04/M04_word.mlf";

/** The corpus' four classes of intelligibility (H. Kim et al., 2008), as published recipes list its 15 speakers. */
const intelligibility: Record<string, string> = Object.fromEntries(
  Object.entries({
    "very low": "M01 M04 M12 F03",
    low: "M07 M16 F02",
    mid: "M05 M11 F04",
    high: "M08 M09 M10 M14 F05",
  }).flatMap(([group, speakers]) => speakers.split(" ").map((speaker) => [speaker, group])),
);

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
            severity: control ? "none" : (intelligibility[speaker] ?? "unknown"),
          },
          // The usual division: blocks 1 and 3 train, the second, with the same common words and other rare ones, tests.
          split: block === "B2" ? "test" : "train",
        },
      ];
    });
  },
};

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
