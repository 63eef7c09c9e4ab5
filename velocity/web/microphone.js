// The microphone at 16 kHz without processing: the model was trained on unprocessed recordings.

const SOUND = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const REASONS = {
  NotAllowedError: 'The microphone may not be used: allow it for this page in the browser’s settings.',
  NotFoundError: 'There is no microphone.',
  NotReadableError: 'The microphone is in use by another program.',
  NotSupportedError: 'This browser gives no sound at 16 kHz: record a file and open it instead.',
};

// Calls hear(samples) with (1600,) Float32Array pieces, and lost(error) when the microphone goes away. Returns a function
// that stops it. Errors have a message for the user.
export async function openMicrophone(hear, lost) {
  if (!navigator.mediaDevices) throw new Error('Browsers give the microphone to https and to localhost only.');
  let stream, context;
  const close = async () => {
    stream?.getTracks().forEach((track) => track.stop());
    await context?.close();
  };
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: SOUND });
    context = new AudioContext({ sampleRate: 16000 });
    await context.audioWorklet.addModule(new URL('./capture.js', import.meta.url));
    const capture = new AudioWorkletNode(context, 'capture', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
    capture.port.onmessage = ({ data }) => hear(data);
    context.createMediaStreamSource(stream).connect(capture);
    stream.getTracks().forEach((track) => (track.onended = () => lost(new Error('The microphone was disconnected.'))));
    return close;
  } catch (error) {
    await close();
    throw new Error(REASONS[error.name] ?? `The microphone cannot be used: ${error.message}`);
  }
}
