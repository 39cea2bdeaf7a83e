import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readers } from "../../../src/corpus/readers/index.ts";
import { readCorpus } from "../../../src/corpus/readers/reader.ts";
import { UserError } from "../../../src/errors.ts";
import { folder, read, tree } from "./tree.ts";

describe("tables and lists", () => {
  test("CSV with other names of columns, quotes, and labels", async () => {
    tree(
      {
        "list.csv": [
          "file_path,length,label,start,end,transcript,dev set",
          'x/a.wav,16000,007,0.5,1,"one, two",1',
          "y/a.wav,8000,3,,,three,",
        ],
      },
      "x/a.wav",
      "y/a.wav",
    );
    expect(await read("csv")).toEqual([
      {
        id: "a",
        audio: "x/a.wav",
        start: 0.5,
        end: 1,
        text: "one, two",
        labels: { length: 16000, label: "007", "dev set": 1 },
      },
      { id: "a-1", audio: "y/a.wav", text: "three", labels: { length: 8000, label: 3 } },
    ]);
    tree({ "list.csv": ["path,text", "a.wav"] });
    await expect(read("csv")).rejects.toThrow(/list\.csv:2: expected 2 cells \(path, text\), not 1/);
    tree({ "list.csv": ["pathh,text", "a.wav,b"] });
    await expect(read("csv")).rejects.toThrow(/no column of sound files/);
    tree({ "second.csv": ["path"] });
    await expect(read("csv")).rejects.toThrow(/2 tables \(list.csv, second.csv\); name one/);
  });

  test("Kaldi with segments and commands, and fairseq", async () => {
    tree(
      {
        "wav.scp": ["rec1 sph2pipe -f wav -p -c 1 audio/rec1.sph |"],
        segments: ["utt1 rec1 0.5 2.5"],
        text: ["utt1 hello there"],
        utt2spk: ["utt1 spk1"],
        spk2gender: ["spk1 f"],
      },
      "audio/rec1.sph",
    );
    expect(await read("kaldi")).toEqual([
      {
        id: "utt1",
        audio: "audio/rec1.sph",
        start: 0.5,
        end: 2.5,
        speaker: "spk1",
        text: "hello there",
        labels: { gender: "f" },
      },
    ]);
    tree(
      {
        "train.tsv": ["sounds", "a/1.flac\t32000"],
        "train.ltr": ["H E | I T |"],
        "dev_other.tsv": ["sounds", "a/2.flac\t8000"],
        "dev_other.phn": ["h eh"],
      },
      "sounds/a/1.flac",
      "sounds/a/2.flac",
    );
    expect(await read("fairseq")).toEqual([
      { id: "dev_other-a-2", audio: "sounds/a/2.flac", duration: 0.5, phones: ["h", "eh"], split: "valid" },
      { id: "train-a-1", audio: "sounds/a/1.flac", duration: 2, text: "HE IT", split: "train" },
    ]);
    tree({ "train.ltr": ["A |", "B |"] });
    await expect(read("fairseq")).rejects.toThrow(
      /train\.ltr: 2 lines, but .*train\.tsv names 1 sound files/,
    );
  });
});

describe("what all readers share", () => {
  test("every reader refuses a folder of something else, with a sentence", async () => {
    tree({ "readme.txt": "nothing here" });
    for (const name of Object.keys(readers)) {
      const attempt = readCorpus(name, readers, folder).then(() => undefined);
      await expect(attempt, name).rejects.toThrow(UserError);
    }
  });

  test("unknown corpora, options and folders; files that are named but absent", async () => {
    await expect(readCorpus("librispech", readers, folder)).rejects.toThrow(/did you mean "librispeech"\?/);
    await expect(readCorpus("fsdd", readers, join(folder, "no"))).rejects.toThrow(/there is no such folder/);
    tree({}, "recordings/7_george_3.wav");
    await expect(read("fsdd", { classes: "4" })).rejects.toThrow(
      /fsdd has no option "classes"; it takes none/,
    );
    tree({ "list.csv": ["path,text", "a.wav,x", "recordings/7_george_3.wav,y"] });
    await expect(read("csv")).rejects.toThrow(
      /a\.wav: the corpus names this sound file \(a\), but it is not there/,
    );
    const missing: string[] = [];
    const rest = await readCorpus("csv", readers, folder, {}, (u) => missing.push(u.id));
    expect([rest.length, missing]).toEqual([1, ["a"]]);
    await expect(readCorpus("timit", readers, folder, { phones: "40" })).rejects.toThrow(
      /must be one of 61, 39/,
    );
  });
});
