"""A phone on pjsip's library pjsua2, without its own help for NAT. It answers each call, and calls what stdin names.

With a tone, it sends that in its calls, and writes what it hears into heard.wav.
"""

import sys

import pjsua2 as pj

USER, PASSWORD, PBX, ADDRESS, PORT, HERTZ = sys.argv[1:]


def say(text):
    print(text, flush=True)


def tone():
    generator = pj.ToneGenerator()
    generator.createToneGenerator()
    description = pj.ToneDesc()
    description.freq1, description.freq2 = int(HERTZ), 0
    description.on_msec, description.off_msec = 30000, 0
    tones = pj.ToneDescVector()
    tones.append(description)
    generator.play(tones, True)
    return generator


class Call(pj.Call):
    tone = recorder = None

    def onCallState(self, prm):
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            # The file is complete without its writer.
            self.tone = self.recorder = None
        say(f"call {info.stateText}")

    def onCallMediaState(self, prm):
        if int(HERTZ) == 0:
            return
        if self.recorder is None:
            self.tone, self.recorder = tone(), pj.AudioMediaRecorder()
            self.recorder.createRecorder("heard.wav")
        audio = self.getAudioMedia(-1)
        self.tone.startTransmit(audio)
        audio.startTransmit(self.recorder)


class Account(pj.Account):
    calls = []

    def onRegState(self, prm):
        say(f"registration {prm.code}")

    def onIncomingCall(self, prm):
        call = Call(self, prm.callId)
        self.calls.append(call)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        call.answer(answer)


endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.logConfig.level = config.logConfig.consoleLevel = 1
config.uaConfig.threadCnt = 0
config.uaConfig.mainThreadOnly = True
config.medConfig.noVad = True
endpoint.libInit(config)
endpoint.audDevManager().setNullDev()
transport = pj.TransportConfig()
transport.boundAddress = ADDRESS
transport.port = int(PORT)
endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
endpoint.libStart()

config = pj.AccountConfig()
config.idUri = f"sip:{USER}@{PBX}"
config.regConfig.registrarUri = f"sip:{PBX}"
config.regConfig.timeoutSec = 60
config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", USER, 0, PASSWORD))
config.natConfig.contactRewriteUse = 0
config.natConfig.viaRewriteUse = 0
config.natConfig.sdpNatRewriteUse = 0
config.natConfig.sipOutboundUse = 0
config.natConfig.udpKaIntervalSec = 0
account = Account()
account.create(config)
if DIAL := sys.stdin.readline().strip():
    call = Call(account)
    call.makeCall(DIAL, pj.CallOpParam(True))
while True:
    endpoint.libHandleEvents(100)
