import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { readText } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { choiceOption, needFiles, type Reader, stem } from "./reader.ts";

const layout = "F01/Session1/wav_headMic/0001.wav (or below F, M, FC, MC) with Session1/prompts/0001.txt";

/**
 * Severity by speaker as recognition work tabulates it. The corpus itself has Frenchay ratings in each speaker's notes and no
 * such field, and published tables differ: F03 is also called mild, F01 moderate.
 */
const severity: Record<string, string> = {
  F01: "severe",
  M01: "severe",
  M02: "severe",
  M04: "severe",
  M05: "moderate",
  F03: "moderate",
  F04: "mild",
  M03: "mild",
};

/** Mild and moderate are two speakers each: together they are enough to learn from some and be tested on others. */
const gradeOf = (of: string | undefined): string =>
  of === undefined ? "unknown" : of === "severe" ? "severe" : "mild-moderate";

/** TORGO: English dysarthric speech of eight speakers, and seven controls. */
export const torgo: Reader = {
  title: "TORGO: dysarthric and control speech in English",
  layout,
  options: { microphone: "head (default), array, or both" },
  download: {
    url: "http://www.cs.toronto.edu/~complingweb/data/TORGO/torgo.html",
    licence: "see the distribution",
  },
  read(folder, options) {
    const microphone = choiceOption(options, "microphone", ["head", "array", "both"]);
    return needFiles(folder, layout, ".wav").flatMap((file): Utterance[] => {
      const [speaker, session, kind] = file.split("/").slice(-4);
      const place = /^wav_(head|array)Mic$/.exec(kind ?? "")?.[1];
      if (place === undefined || (microphone !== "both" && microphone !== place)) return [];
      const prompt = join(folder, dirname(dirname(file)), "prompts", `${stem(file)}.txt`);
      if (!existsSync(prompt)) return [];
      const text = readText(prompt).trim();
      // Pictures to describe and instructions in brackets are no transcripts, and "xxx" marks a failed recording.
      if (text === "" || /\.(jpg|jpeg|png)$/i.test(text) || /^\[.*\]$/.test(text) || text === "xxx")
        return [];
      const control = speaker.includes("C");
      return [
        {
          id: `${speaker}-${session}-${place}-${stem(file)}`,
          audio: join(folder, file),
          speaker,
          text: text.replaceAll(/\s*\[[^\]]*\]/g, ""),
          labels: {
            severity: control ? "none" : (severity[speaker] ?? "unknown"),
            grade: control ? "none" : gradeOf(severity[speaker]),
            dysarthria: control ? "no" : "yes",
            gender: speaker.startsWith("F") ? "female" : "male",
            session,
            microphone: place,
          },
        },
      ];
    });
  },
};
