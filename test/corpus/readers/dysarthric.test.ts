import { describe, expect, test } from "vitest";
import { read, tree } from "./tree.ts";

describe("dysarthric speech", () => {
  test("QoLT's table", async () => {
    const header = "path,phones,speaker,gender,severity,session";
    tree({ "qolt.csv": [header, "wav/a.wav,k a ng,s01,female,3,1"] }, "wav/a.wav");
    expect(await read("qolt")).toEqual([
      {
        id: "a",
        audio: "wav/a.wav",
        speaker: "s01",
        phones: ["k", "a", "ng"],
        labels: { gender: "female", severity: 3, session: 1 },
      },
    ]);
    tree({ "qolt.csv": [header, "wav/a.wav,k a ng,s01,female,5,1"] });
    await expect(read("qolt")).rejects.toThrow(/qolt\.csv:2: severity must be 0, 1, 2, 3 or 4, not "5"/);
    tree({ "qolt.csv": ["path,phones"] });
    await expect(read("qolt")).rejects.toThrow(/no column "speaker"/);
  });

  test("TORGO: prompts that were read, severity by speaker", async () => {
    tree(
      {
        "F01/Session1/prompts/0001.txt": "stick",
        "F01/Session1/prompts/0002.txt": "input/images/p1.jpg",
        "F01/Session1/prompts/0003.txt": "[say Ah-P-Eee repeatedly]",
        "MC01/Session2/prompts/0004.txt": "Except in the winter [pause]",
      },
      ...["0001", "0002", "0003"].map((n) => `F01/Session1/wav_headMic/${n}.wav`),
      "F01/Session1/wav_arrayMic/0001.wav",
      "MC01/Session2/wav_headMic/0004.wav",
    );
    const head = await read("torgo");
    expect(head.map((u) => [u.id, u.text, u.labels!.severity])).toEqual([
      ["F01-Session1-head-0001", "stick", "severe"],
      ["MC01-Session2-head-0004", "Except in the winter", "none"],
    ]);
    expect((await read("torgo", { microphone: "both" })).length).toBe(3);
    expect(head[1].labels).toMatchObject({ dysarthria: "no", gender: "male" });
  });

  test("UASpeech: words, blocks, intelligibility", async () => {
    tree(
      { "mlf/M04/M04_word.mlf": ["#!MLF!#", '"*/M04_B1_C1_M5.lab"', "COMMAND", "."] },
      "audio/M04/M04_B1_C1_M5.wav",
      "audio/M04/M04_B1_C1_M6.wav",
      "audio/M04/M04_B2_UW3_M5.wav",
      "audio/control/CF02/CF02_B3_D1_M5.wav",
    );
    const utterances = await read("uaspeech");
    expect(utterances.map((u) => [u.id, u.split, u.labels!.severity, u.labels!.word])).toEqual([
      ["M04_B1_C1_M5", "train", "very low", "C1"],
      ["M04_B2_UW3_M5", "test", "very low", "B2_UW3"],
      ["CF02_B3_D1_M5", "train", "none", "D1"],
    ]);
    expect(utterances[0]).toMatchObject({
      text: "COMMAND",
      labels: { severity: "very low", gender: "male" },
    });
    expect((await read("uaspeech", { controls: "no", microphone: "all" })).length).toBe(3);
  });
});
