import { type Progress, progress } from "../train/progress.ts";

/** Shows how much of a long recording has been heard; of one that is heard at once, nothing. */
export function secondsHeard(file: string): (doneSeconds: number, totalSeconds: number) => void {
  let shown: Progress | undefined;
  return (done, total) => {
    if (shown === undefined && done >= total) return;
    shown ??= progress({ label: `hearing ${file}, seconds`, total: Math.ceil(total) });
    shown.update(Math.round(done));
    if (done >= total) shown.end();
  };
}
