import { join } from "node:path";
import type { Utterance } from "../manifest.ts";
import { firstOf, needFiles, type Reader, stem } from "./reader.ts";

const ravdessLayout = "Actor_01/03-01-01-01-01-01-01.wav";
const ravdessEmotions = "neutral calm happy sad angry fearful disgust surprised".split(" ");
const ravdessSentences = ["Kids are talking by the door", "Dogs are sitting by the door"];

/** RAVDESS, the speech part. */
export const ravdess: Reader = {
  title: "RAVDESS: two sentences, eight emotions, 24 actors",
  layout: ravdessLayout,
  options: {},
  download: {
    url: "https://zenodo.org/records/1188976",
    licence: "CC BY-NC-SA 4.0",
    archives: {
      speech: {
        url: "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
        hash: "md5:bc696df654c87fed845eb13823edef8a",
      },
    },
  },
  read(folder) {
    return needFiles(folder, ravdessLayout, ".wav").flatMap((file): Utterance[] => {
      const id = stem(file);
      const codes = id.split("-").map(Number);
      // Modality, channel (1 speech, 2 song), emotion, intensity, statement, repetition, actor.
      if (codes.length !== 7 || codes.some(Number.isNaN) || codes[1] !== 1) return [];
      const [, , emotion, intensity, statement, repetition, actor] = codes;
      return [
        {
          id,
          audio: join(folder, file),
          speaker: `Actor_${String(actor).padStart(2, "0")}`,
          text: ravdessSentences[statement - 1],
          labels: {
            emotion: ravdessEmotions[emotion - 1],
            intensity: intensity === 1 ? "normal" : "strong",
            repetition,
            gender: actor % 2 === 1 ? "male" : "female",
          },
        },
      ];
    });
  },
};

const emodbLayout = "wav/03a01Fa.wav";
/** Letters of the German names of the emotions. */
const emodbEmotions: Record<string, string> = {
  W: "anger",
  L: "boredom",
  E: "disgust",
  A: "fear",
  F: "happiness",
  T: "sadness",
  N: "neutral",
};
const men = new Set(["03", "10", "11", "12", "15"]);
const emodbSentences: Record<string, string> = {
  a01: "Der Lappen liegt auf dem Eisschrank.",
  a02: "Das will sie am Mittwoch abgeben.",
  a04: "Heute abend könnte ich es ihm sagen.",
  a05: "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
  a07: "In sieben Stunden wird es soweit sein.",
  b01: "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
  b02: "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
  b03: "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
  b09: "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
  b10: "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
};

/** The Berlin database of emotional speech. */
export const emodb: Reader = {
  title: "EmoDB: ten German sentences, seven emotions, ten actors",
  layout: emodbLayout,
  options: {},
  download: {
    url: "http://emodb.bilderbar.info",
    licence: "see the distribution",
    archives: { all: { url: "http://emodb.bilderbar.info/download/download.zip" } },
  },
  read(folder) {
    const root = firstOf(folder, "wav") ?? folder;
    return needFiles(root, emodbLayout, ".wav").flatMap((file): Utterance[] => {
      const id = stem(file);
      const match = /^(\d\d)([ab]\d\d)([A-Z])[a-z]$/.exec(id);
      if (match === null || emodbEmotions[match[3]] === undefined) return [];
      const [, speaker, sentence, emotion] = match;
      return [
        {
          id,
          audio: join(root, file),
          speaker,
          ...(emodbSentences[sentence] !== undefined && { text: emodbSentences[sentence] }),
          labels: { emotion: emodbEmotions[emotion], gender: men.has(speaker) ? "male" : "female" },
        },
      ];
    });
  },
};
