// The microphone's samples, in pieces of a tenth of a second.

class Capture extends AudioWorkletProcessor {
  #piece = new Float32Array(sampleRate / 10);
  #filled = 0;

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.#piece[this.#filled++] = sample;
      if (this.#filled === this.#piece.length) {
        this.port.postMessage(this.#piece);
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor('capture', Capture);
