import { type LoadOptions, loadUtterance, type Recording } from "./load-audio.ts";
import { serve } from "./worker-pool.ts";

// A worker thread that decodes and resamples, so that a training step never waits for it.
serve(
  ({ recording, options }: { recording: Recording; options: LoadOptions }) =>
    loadUtterance(recording, options),
  (samples) => (samples.buffer instanceof ArrayBuffer ? [samples.buffer] : []),
);
