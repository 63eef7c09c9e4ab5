// Live audio: the current utterance is recognised again and again until it ends at a pause. The bidirectional model
// always gets all of it, which helps a small model more than the repeated work costs.

import { SAMPLE_RATE } from './features.js';
import { VOICE_STEP, joined, periodicity, quietest, voiceActivity } from './segmentation.js';

const STEP = 0.5; // seconds of new audio before it is recognised again
const QUIET = 0.4; // seconds without a voice that end an utterance, after the half second of voiceActivity
const BEFORE = 1; // seconds kept before an onset: speech may begin softly
const LONGEST = 20; // seconds; then the utterance is cut where it is quietest
const AFTER = 1; // seconds after such a cut that are included

export class Live {
  // tell({ text, final, seconds, took }): the utterance so far, its length, and the time spent on it.
  constructor(recogniser, tell) {
    Object.assign(this, { recogniser, tell, held: new Float32Array(0), recognised: 0, working: null });
  }

  async hear(samples) {
    this.held = joined(this.held, samples);
    this.working ??= this.#work().finally(() => (this.working = null));
    await this.working;
  }

  // End of the audio.
  async finish() {
    await this.working;
    while (this.held.length) await this.#recognise(true);
  }

  async #work() {
    while (this.held.length - this.recognised >= STEP * SAMPLE_RATE) await this.#recognise(false);
  }

  async #recognise(over) {
    const started = performance.now();
    const { recogniser } = this;
    let samples = this.held; // more may arrive meanwhile
    this.recognised = samples.length;
    let end = samples.length;
    if (end > LONGEST * SAMPLE_RATE) {
      end = quietest(samples.subarray(0, LONGEST * SAMPLE_RATE), recogniser.frame);
      samples = samples.subarray(0, end + AFTER * SAMPLE_RATE);
    }
    const periodic = periodicity(samples), active = voiceActivity(periodic, true);
    const quiet = (active.length - 1 - active.lastIndexOf(1)) * VOICE_STEP;
    const spoken = active.includes(1);
    const final = over || end < this.recognised || (spoken && quiet >= QUIET);
    if (spoken) {
      const { value: logProbs } = await recogniser.posteriors([{ samples, start: 0, end, periodic, active }]).next();
      const text = recogniser.head.text(logProbs);
      this.tell({ text, final, seconds: end / SAMPLE_RATE, took: (performance.now() - started) / 1000 });
    }
    if (final) this.#forget(end < this.recognised ? end : end - QUIET * SAMPLE_RATE * !over);
    else if (!spoken) this.#forget(end - BEFORE * SAMPLE_RATE);
  }

  #forget(samples) {
    this.held = this.held.slice(Math.max(0, samples));
    this.recognised = Math.max(0, this.recognised - Math.max(0, samples));
  }
}
