"""A phone on pjsip's library pjsua2, without its own help for NAT. It answers each call, and calls what stdin names."""

import sys

import pjsua2 as pj

USER, PASSWORD, PBX, ADDRESS, PORT = sys.argv[1:]


def say(text):
    print(text, flush=True)


class Call(pj.Call):
    def onCallState(self, prm):
        say(f"call {self.getInfo().stateText}")


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
