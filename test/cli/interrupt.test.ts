import { afterEach, expect, test, vi } from "vitest";
import { interruptSignal } from "../../src/cli/command.ts";

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

test("one signal delivered twice saves; a later one ends the process", () => {
  let now = 5000;
  vi.spyOn(performance, "now").mockImplementation(() => now);
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
  const exit = vi.spyOn(process, "exit").mockImplementation((() => undefined) as never);
  const { signal, dispose } = interruptSignal("saving");
  process.emit("SIGTERM", "SIGTERM");
  now += 5;
  process.emit("SIGTERM", "SIGTERM");
  expect(signal.aborted).toBe(true);
  expect(exit).not.toHaveBeenCalled();
  now += 2000;
  process.emit("SIGTERM", "SIGTERM");
  expect(exit).toHaveBeenCalledWith(143);
  dispose();
});
