import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Utterance } from "../manifest.ts";
import { firstOf, needFiles, type Reader, stem } from "./reader.ts";

const words = "zero one two three four five six seven eight nine".split(" ");

/** Speakers of FSDD, from its metadata.py: gender and accent. */
const people: Record<string, [gender: string, accent: string]> = {
  george: ["male", "GRC/Greek"],
  jackson: ["male", "USA/neutral"],
  lucas: ["male", "DEU/German"],
  nicolas: ["male", "BEL/French"],
  theo: ["male", "USA/neutral"],
  yweweler: ["male", "DEU/German"],
};

const fsddLayout = "recordings/0_george_0.wav";

/** Free Spoken Digit Dataset. Its own split is by take (0 to 4 for test), so speakers are on both sides. */
export const fsdd: Reader = {
  title: "FSDD: spoken English digits of six speakers, 8 kHz",
  layout: fsddLayout,
  options: {},
  download: {
    url: "https://github.com/Jakobovski/free-spoken-digit-dataset",
    licence: "CC BY-SA 4.0",
    archives: {
      all: { url: "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.zip" },
    },
  },
  read(folder) {
    const root = firstOf(folder, "recordings") ?? folder;
    return needFiles(root, fsddLayout, ".wav").map((file): Utterance => {
      const id = stem(file);
      const [digit, speaker, take] = id.split("_");
      const [gender, accent] = people[speaker] ?? [];
      return {
        id,
        audio: join(root, file),
        speaker,
        text: words[Number(digit)],
        labels: { digit, ...(gender !== undefined && { gender, accent }) },
        split: Number(take) < 5 ? "test" : "train",
      };
    });
  },
};

const mnistLayout = "data/01/0_01_0.wav and data/audioMNIST_meta.txt";

/** AudioMNIST. */
export const audioMnist: Reader = {
  title: "AudioMNIST: spoken English digits of 60 speakers, 48 kHz",
  layout: mnistLayout,
  options: {},
  download: {
    url: "https://github.com/soerenab/AudioMNIST",
    licence: "MIT",
    archives: { all: { url: "https://github.com/soerenab/AudioMNIST/archive/refs/heads/master.zip" } },
  },
  read(folder) {
    const root = firstOf(folder, "data") ?? folder;
    const path = firstOf(root, "audioMNIST_meta.txt");
    const meta: Record<string, Record<string, string>> = path === undefined
      ? {}
      : JSON.parse(readFileSync(path, "utf8"));
    return needFiles(root, mnistLayout, ".wav").map((file): Utterance => {
      const id = stem(file);
      const [digit, speaker] = id.split("_");
      const person = meta[speaker];
      const known = person && { gender: person.gender, accent: person.accent, age: String(person.age) };
      return {
        id,
        audio: join(root, file),
        speaker,
        text: words[Number(digit)],
        labels: { digit, ...known },
      };
    });
  },
};
