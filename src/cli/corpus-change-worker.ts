import { serve } from "../corpus/worker-pool.ts";
import { changeRecording } from "./corpus-change.ts";

serve(changeRecording);
