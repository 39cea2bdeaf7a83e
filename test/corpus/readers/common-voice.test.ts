import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { folder, read, tree } from "./tree.ts";

describe("Common Voice and CoVoST 2", () => {
  const header = "client_id\tpath\tsentence\tup_votes\tage\tgender";

  test("tables, and quotation marks that are no quotes", async () => {
    tree(
      {
        "train.tsv": [header, 'c1\tcommon_voice_tr_1.mp3\t"Merhaba" dedi.\t2\ttwenties\tfemale'],
        "dev.tsv": [header, "c2\tcommon_voice_tr_2\tEvet.\t2\t\t"],
        "test.tsv": [header],
      },
      "clips/common_voice_tr_1.mp3",
      "clips/common_voice_tr_2.mp3",
    );
    expect(await read("common-voice")).toEqual([
      {
        id: "common_voice_tr_1",
        audio: "clips/common_voice_tr_1.mp3",
        speaker: "c1",
        text: '"Merhaba" dedi.',
        labels: { gender: "female", age: "twenties" },
        split: "train",
      },
      {
        id: "common_voice_tr_2",
        audio: "clips/common_voice_tr_2.mp3",
        speaker: "c2",
        text: "Evet.",
        split: "valid",
      },
    ]);
  });

  test("1 h phoneme splits", async () => {
    tree(
      {
        "validated.tsv": [
          header,
          "c1\tx_1.mp3\tBir.\t2\t\t",
          "c2\tx_2.mp3\tIki.\t2\t\t",
          "c3\tx_3.mp3\tUc.\t2\t\t",
        ],
        "splits/trainSeqs_1.0_uniform_new_version.txt": ["x_1"],
        "splits/valSeqs_1.0_uniform_new_version.txt": ["x_2"],
        "splits/testSeqs_uniform_new_version.txt": ["x_3"],
        "splits/validated_phones_reduced.txt": ["x_1 b i r", "x_2 i k i", "x_3 u tS"],
      },
      "clips/x_1.mp3",
      "clips/x_2.mp3",
      "clips/x_3.mp3",
    );
    const utterances = await read("common-voice", { phoneSplits: join(folder, "splits") });
    expect(utterances.map((u) => [u.split, u.speaker, u.phones])).toEqual([
      ["train", "c1", ["b", "i", "r"]],
      ["valid", "c2", ["i", "k", "i"]],
      ["test", "c3", ["u", "tS"]],
    ]);
  });

  test("translations, in one table or three", async () => {
    const columns = "path\tsentence\ttranslation\tclient_id";
    tree(
      { "covost_v2.en_de.tsv": [`${columns}\tsplit`, "a.mp3\tGood day\tGuten Tag\tc1\tdev"] },
      "clips/a.mp3",
    );
    const one = await read("covost");
    expect(one[0]).toMatchObject({ id: "a", text: "Good day", translation: "Guten Tag", split: "valid" });
    tree({ "covost_v2.en_de.train.tsv": [columns, "a.mp3\tGood day\tGuten Tag\tc1"] });
    expect((await read("covost"))[0].split).toBe("train");
  });
});
