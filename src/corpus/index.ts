/** Everything about corpora, for the command line and for programs: see each module for its documentation. */
export { type BatchOptions, lengthBuckets, paddingShare } from "./batches.ts";
export { BpeVocabulary, readBpe, trainBpe, writeBpe } from "./bpe.ts";
export { type CorpusCheckOptions, type CorpusFault, type CorpusFaultKind, corpusCheck } from "./check.ts";
export { type Degradation, degrade } from "./degradation.ts";
export { type FetchedArchive, type FetchOptions, fetchCorpus } from "./fetch.ts";
export { readKaldi } from "./formats/kaldi.ts";
export { formatCtm, readCtm, readRttm, readStm } from "./formats/nist.ts";
export { formatTextGrid, readAlignment, readTextGrid, type Tier } from "./formats/text-grid.ts";
export { foldTimitPhones, readTimitLabels } from "./formats/timit.ts";
export { type Lexicon, lookUp, pronounce, readLexicon } from "./lexicon.ts";
export { type LoadOptions, loadUtterance, normalizeSamples } from "./load-audio.ts";
export {
  type ManifestFault,
  type Phone,
  phoneSymbols,
  type ReadManifestOptions,
  readManifest,
  type Turn,
  type Utterance,
  type Word,
  writeManifest,
} from "./manifest.ts";
export { AudioLoader, type LoadedBatch, type PrefetchOptions, padWaves } from "./prefetch.ts";
export { readers } from "./readers/index.ts";
export { type Reader, type ReaderOptions, readCorpus, withDurations } from "./readers/reader.ts";
export { readTrials, type Trial } from "./readers/voxceleb.ts";
export { SentencePieceModel } from "./sentence-piece.ts";
export {
  type Dimension,
  dimensions,
  grades,
  type SimulatedSpeech,
  type SpeechProfile,
  simulateSpeech,
  speakerProfile,
  unchanged,
  utteranceProfile,
} from "./severity.ts";
export { type Split, type SplitSpec, sharedSpeakers, speakerFolds, splitCorpus } from "./splits.ts";
export { type CorpusStats, corpusStats } from "./stats.ts";
export { frequentWords, sampleHours } from "./subsets.ts";
export { listVoices, phonemize, type Speech, type SpeechRequest, synthesize } from "./synthesis.ts";
export { type SyntheticCorpusOptions, synthesizeCorpus } from "./synthetic-corpus.ts";
export {
  buildLabels,
  buildVocabulary,
  LabelVocabulary,
  readVocabulary,
  symbolsOf,
  type Unit,
  Vocabulary,
  type VocabularyOptions,
  withoutStress,
  writeVocabulary,
} from "./vocab.ts";
