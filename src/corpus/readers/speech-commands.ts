import { join } from "node:path";
import { probeFile } from "../../audio/file.ts";
import { readLines } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { choiceOption, filesBelow, foldersIn, need, type Reader, stem } from "./reader.ts";

const layout =
  "one folder a word with HASH_nohash_0.wav, validation_list.txt, testing_list.txt, _background_noise_/*.wav";

const ten = new Set("yes no up down left right on off stop go".split(" "));
const noise = "_background_noise_";

/** Google Speech Commands, versions 1 and 2. */
export const speechCommands: Reader = {
  title: "Speech Commands: single English words, many speakers",
  layout,
  options: {
    classes:
      "all (default): every word a class; 12: ten words, unknown and silence (seconds cut from the background noise), as in SUPERB",
    testSet:
      "folder of the official 12-class test set (speech_commands_test_set), which then replaces the test part",
  },
  download: {
    url: "https://arxiv.org/abs/1804.03209",
    licence: "CC BY 4.0",
    archives: {
      all: {
        url: "https://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        hash: "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
      },
    },
  },
  async read(folder, options) {
    const twelve = choiceOption(options, "classes", ["all", "12"]) === "12";
    const listed = (name: string) =>
      new Set(readLines(need(folder, name, layout)).map(({ text }) => text.trim()));
    const [valid, test] = [listed("validation_list.txt"), listed("testing_list.txt")];
    const words = foldersIn(folder).filter((word) => word !== noise);
    const spoken = words.flatMap((word) =>
      filesBelow(join(folder, word), ".wav").map((file): Utterance => {
        const name = `${word}/${file}`;
        const split = valid.has(name) ? "valid" : test.has(name) ? "test" : "train";
        return utteranceOf(join(folder, name), word, twelve, split);
      }),
    );
    const silence = twelve ? await cutSilence(join(folder, noise)) : [];
    if (options.testSet === undefined) return [...spoken, ...silence];
    const root = options.testSet;
    const official = filesBelow(root, ".wav").map((file) =>
      utteranceOf(join(root, file), file.split("/")[0], twelve, "test"),
    );
    return [...spoken, ...silence].filter((u) => u.split !== "test").concat(official);
  },
};

function utteranceOf(audio: string, word: string, twelve: boolean, split: string): Utterance {
  const name = stem(audio);
  const [speaker] = name.split("_nohash_");
  const keyword = !twelve || ten.has(word) ? word : word === "_silence_" ? "silence" : "unknown";
  return {
    id: `${split === "test" ? "test-" : ""}${word}-${name}`,
    audio,
    ...(speaker !== name && { speaker }),
    ...(word.startsWith("_") ? {} : { text: word }),
    labels: { keyword },
    split,
  };
}

/** Whole seconds of the noise recordings; the last recording, by name, is kept for validation. */
async function cutSilence(folder: string): Promise<Utterance[]> {
  const files = filesBelow(folder, ".wav");
  const cut = await Promise.all(
    files.map(async (file, index) => {
      const audio = join(folder, file);
      const { seconds } = await probeFile(audio);
      return Array.from({ length: Math.floor(seconds) }, (_, second): Utterance => {
        const id = `silence-${stem(file)}-${second}`;
        const split = index === files.length - 1 && files.length > 1 ? "valid" : "train";
        return {
          id,
          audio,
          start: second,
          end: second + 1,
          duration: 1,
          labels: { keyword: "silence" },
          split,
        };
      });
    }),
  );
  return cut.flat();
}
