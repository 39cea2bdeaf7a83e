/** Progress of long work with an estimate of its end: one line that updates on a terminal, plain lines elsewhere. */
export interface Progress {
  /** Work done so far, and what to say about it. */
  update(done: number, note?: string): void;
  /** A line of its own above the progress line. */
  print(line: string): void;
  end(): void;
}

export interface ProgressOptions {
  label: string;
  total: number;
  /** Work done before this process began (a resumed run): it says nothing about the speed. */
  start?: number;
  stream?: { isTTY?: boolean; columns?: number; write(text: string): unknown };
  /** Seconds between plain lines where there is no terminal. */
  interval?: number;
  /** Seconds on any monotonic clock. */
  now?: () => number;
}

// A terminal line more often than this is only flicker.
const TTY_INTERVAL = 0.1;

export function progress({
  label,
  total,
  start = 0,
  stream = process.stderr,
  interval = 10,
  now = () => performance.now() / 1000,
}: ProgressOptions): Progress {
  const began = now();
  let last = Number.NEGATIVE_INFINITY;
  let shown = "";
  let line = "";
  const terminal = stream.isTTY === true;

  const clear = () => {
    if (terminal && shown !== "") stream.write("\r\x1b[2K");
    shown = "";
  };
  const show = (text: string) => {
    clear();
    shown = terminal ? text.slice(0, (stream.columns ?? 80) - 1) : text;
    stream.write(terminal ? shown : `${text}\n`);
  };
  return {
    update(done, note = "") {
      const elapsed = now() - began;
      const share = total > 0 ? Math.floor((100 * done) / total) : 100;
      const left = done > start ? ((total - done) * elapsed) / (done - start) : undefined;
      const eta =
        done >= total ? `in ${duration(elapsed)}` : left === undefined ? "" : `${duration(left)} left`;
      line = [`${label} ${done}/${total} (${share} %)`, eta, note].filter(Boolean).join("  ");
      const due = now() - last >= (terminal ? TTY_INTERVAL : interval);
      if (!due && done < total) return;
      last = now();
      if (line !== shown) show(line);
    },
    print(text) {
      clear();
      stream.write(`${text}\n`);
      if (terminal && line !== "") show(line);
    },
    end() {
      if (terminal && line !== "") {
        show(line);
        stream.write("\n");
      }
      shown = line = "";
    },
  };
}

/** Seconds as `45 s`, `3 min 20 s`, `2 h 05 min`. */
export function duration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  const minutes = Math.round(s / 60);
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}
