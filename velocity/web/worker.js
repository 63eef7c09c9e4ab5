// The recogniser's thread. The messages are those of speech.js.

import { Live } from './live.js';
import { Recogniser } from './recogniser.js';
import { SAMPLE_RATE } from './features.js';

let recogniser, live;
let current = 0; // the current job

const tasks = {
  async load({ options }) {
    const started = performance.now();
    recogniser = await Recogniser.load(options);
    const { provider, threads, config } = recogniser;
    return { provider, threads, name: config.name, seconds: (performance.now() - started) / 1000 };
  },

  async transcribe({ job, samples }) {
    const started = performance.now();
    const took = () => (performance.now() - started) / 1000;
    const heard = (seconds) => postMessage({ job, heard: seconds, took: took() });
    for await (const passage of recogniser.transcribe(samples, heard)) {
      await new Promise((resolve) => setTimeout(resolve)); // a newer job may have arrived
      if (job !== current) return null;
      postMessage({ job, passage });
    }
    return { seconds: samples.length / SAMPLE_RATE, took: took() };
  },

  async listen({ job }) {
    live = new Live(recogniser, (utterance) => postMessage({ job, utterance }));
    return {};
  },

  async hear({ samples }) {
    await live.hear(samples);
  },

  async finish() {
    await live.finish();
    return {};
  },
};

addEventListener('message', async ({ data }) => {
  if (data.task !== 'hear' && data.task !== 'finish') current = data.job;
  try {
    const result = await tasks[data.task](data);
    if (result !== undefined) postMessage({ job: data.job, result });
  } catch (error) {
    postMessage({ job: data.job, failed: error.message });
  }
});
