import { readLexicon } from "../corpus/lexicon.ts";
import type { Utterance } from "../corpus/manifest.ts";
import { UserError } from "../errors.ts";
import { Aligner } from "../use/align.ts";
import type { FeatureTask } from "./features-sets.ts";

/** What the clinical set wants to know of a recording's phones. */
export type Phonetics = Pick<FeatureTask, "phones" | "canonical" | "recognised">;

export interface HearOptions {
  threads?: number;
  head?: string;
  lexicon?: string;
  voice?: string;
}

/**
 * Listens to recordings with a trained model: which phones are heard, not knowing what was said, and, where it is known what
 * should have been said but not when, the times of those phones by forced alignment.
 */
export class Listener {
  private readonly aligner: Aligner;
  /** The end of the last recording's turn: the model hears one at a time. */
  private turn: Promise<unknown> = Promise.resolve();

  private constructor(aligner: Aligner) {
    this.aligner = aligner;
  }

  static async open(run: string, { lexicon, ...options }: HearOptions): Promise<Listener> {
    const aligner = await Aligner.open(run, {
      ...options,
      lexicon: lexicon === undefined ? undefined : readLexicon(lexicon),
    });
    if (aligner.vocabulary.options.unit !== "characters") return new Listener(aligner);
    await aligner.dispose();
    throw new UserError(`${run}: its CTC head hears letters; the clinical features need one of phones`);
  }

  /** Adds to what is known of an utterance's phones. @throws UserError naming the utterance */
  listen(utterance: Utterance, known: Phonetics): Promise<Phonetics> {
    const heard = this.turn.then(() => this.hear(utterance, known));
    this.turn = heard.catch(() => {});
    return heard;
  }

  dispose(): Promise<void> {
    return this.aligner.dispose();
  }

  private async hear(utterance: Utterance, known: Phonetics): Promise<Phonetics> {
    const recognised = await this.aligner.recognise(utterance);
    const says = utterance.phones !== undefined || utterance.text !== undefined;
    if (!says || known.phones !== undefined) return { ...known, recognised };
    const { phones } = await this.aligner.align(utterance);
    return {
      phones: phones.map(({ phone, start, end }) => ({ label: phone, start, end })),
      canonical: known.canonical ?? phones.map(({ phone }) => phone),
      recognised,
    };
  }
}
