// A waveform on a canvas: the recognised part in the accent colour, the rest in grey.

const BAR = 3, GAP = 1; // CSS pixels
const LEVELS = 1000; // levels kept per recording, more than a screen has bars
const LOOKED_AT = 400; // samples per level, at most: an hour is drawn as fast as a second

export class Waveform {
  #levels = new Float32Array(LEVELS);
  #live = false;
  #share = 0;

  constructor(canvas) {
    this.canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  // A whole recording, (samples,); silence without one.
  show(samples = [0]) {
    this.#levels = peaks(samples, LEVELS);
    this.#live = false;
    this.heard(0);
  }

  // The recognised share, 0 to 1.
  heard(share) {
    this.#share = share;
    this.#draw();
  }

  // The next piece of live audio, which enters from the right.
  add(samples) {
    this.#levels = Float32Array.of(...this.#levels.subarray(1), ...peaks(samples, 1));
    this.#live = true;
    this.heard(1);
  }

  #draw() {
    const { canvas } = this;
    const { width, height } = canvas.getBoundingClientRect();
    const scale = devicePixelRatio;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext('2d');
    context.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const [accent, faint] = ['--accent', '--faint'].map((name) => style.getPropertyValue(name));
    const count = Math.min(LEVELS, Math.floor(width / (BAR + GAP)));
    const bars = this.#live ? this.#levels.slice(-count) : peaks(this.#levels, count);
    const loudest = Math.max(0.05, ...bars);
    bars.forEach((peak, index) => {
      const length = Math.max(BAR, (peak / loudest) * height * 0.92);
      context.fillStyle = index < this.#share * count ? accent : faint;
      context.beginPath();
      context.roundRect(index * (BAR + GAP), (height - length) / 2, BAR, length, BAR / 2);
      context.fill();
    });
  }
}

// (samples,) → the greatest magnitude in each of count equal parts.
function peaks(samples, count) {
  const size = samples.length / count, step = Math.max(1, Math.floor(size / LOOKED_AT));
  return Float32Array.from({ length: count }, (_, part) => {
    let peak = 0;
    for (let i = Math.floor(part * size); i < (part + 1) * size; i += step) peak = Math.max(peak, Math.abs(samples[i]));
    return peak;
  });
}
