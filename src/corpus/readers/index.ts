import { aishell3 } from "./aishell3.ts";
import { commonVoice } from "./common-voice.ts";
import { covost } from "./covost.ts";
import { cremaD } from "./crema-d.ts";
import { audioMnist, fsdd } from "./digits.ts";
import { emodb, ravdess } from "./emotional.ts";
import { fluentSpeechCommands } from "./fluent-speech-commands.ts";
import { iemocap } from "./iemocap.ts";
import { libri2mix } from "./libri2mix.ts";
import { librilight, librispeech } from "./librispeech.ts";
import { audioset, medleySolos, openmic2018 } from "./music.ts";
import { quesst14 } from "./quesst.ts";
import type { Reader } from "./reader.ts";
import { audioSnips } from "./snips.ts";
import { speechCommands } from "./speech-commands.ts";
import { speechocean762 } from "./speechocean762.ts";
import { csv, fairseq, kaldi, qolt } from "./tables.ts";
import { tedlium } from "./tedlium.ts";
import { timit } from "./timit.ts";
import { torgo } from "./torgo.ts";
import { uaspeech } from "./uaspeech.ts";
import { voxceleb1 } from "./voxceleb.ts";

/** Every corpus that can be read in the form it is distributed in, by the name that the command line knows it by. */
export const readers: Record<string, Reader> = {
  librispeech,
  librilight,
  "common-voice": commonVoice,
  timit,
  voxceleb1,
  iemocap,
  "crema-d": cremaD,
  tedlium,
  aishell3,
  "speech-commands": speechCommands,
  "fluent-speech-commands": fluentSpeechCommands,
  "audio-snips": audioSnips,
  quesst14,
  libri2mix,
  covost,
  qolt,
  torgo,
  uaspeech,
  "medley-solos-db": medleySolos,
  "openmic-2018": openmic2018,
  audioset,
  fsdd,
  speechocean762,
  ravdess,
  emodb,
  audiomnist: audioMnist,
  csv,
  kaldi,
  fairseq,
};
