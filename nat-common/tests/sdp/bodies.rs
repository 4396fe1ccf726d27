//! Whole bodies: the examples of the RFCs, and bodies in the form that phones and PBXs write.

use nat_common::sdp::{Kind, LineFlags, Transport};

use crate::{media, read};

/// What a line says: kind, media, RTCP port, attributes.
type Line = (Kind, &'static str, u16, LineFlags);

/// Bodies with their names, and what each of their lines says.
pub(crate) const ALL: &[(&str, &str, &[Line])] = &[
    (
        "RFC 4566 5, RFC 8866 5",
        "v=0\r\no=jdoe 2890844526 2890842807 IN IP4 10.47.16.5\r\ns=SDP Seminar\r\n\
         i=A Seminar on the session description protocol\r\nu=http://www.example.com/seminars/sdp.pdf\r\n\
         e=j.doe@example.com (Jane Doe)\r\nc=IN IP4 224.2.17.12/127\r\nt=2873397496 2873404696\r\n\
         a=recvonly\r\nm=audio 49170 RTP/AVP 0\r\nm=video 51372 RTP/AVP 99\r\na=rtpmap:99 h263-1998/90000\r\n",
        &[
            (Kind::Audio, "224.2.17.12:49170", 49171, LineFlags::NO_SEND),
            (Kind::Video, "224.2.17.12:51372", 51373, LineFlags::NO_SEND),
        ],
    ),
    (
        "RFC 8866 5, second example: addresses of each line",
        "v=0\r\no=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r\ns=Call to John Smith\r\n\
         i=SDP Offer #1\r\nu=http://www.jdoe.example.com/home.html\r\ne=Jane Doe <jane@jdoe.example.com>\r\n\
         p=+1 617 555-6011\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n\
         m=audio 49180 RTP/AVP 0\r\nm=video 51372 RTP/AVP 99\r\nc=IN IP6 2001:db8::2\r\na=rtpmap:99 h263-1998/90000\r\n",
        &[
            (Kind::Audio, "198.51.100.1:49170", 49171, LineFlags::empty()),
            (Kind::Audio, "198.51.100.1:49180", 49181, LineFlags::empty()),
            (
                Kind::Video,
                "[2001:db8::2]:51372",
                51373,
                LineFlags::empty(),
            ),
        ],
    ),
    (
        "RFC 3605 2.1",
        "v=0\r\no=- 25678 753849 IN IP4 128.96.41.1\r\ns=\r\nt=0 0\r\nc=IN IP4 128.96.41.1\r\n\
         m=audio 49170 RTP/AVP 0\r\na=rtcp:53020 IN IP4 128.96.41.1\r\n",
        &[(Kind::Audio, "128.96.41.1:49170", 53020, LineFlags::empty())],
    ),
    (
        "RFC 5761 5.1.1",
        "v=0\r\no=csp 1153134164 1153134164 IN IP6 2001:DB8::211:24ff:fea3:7a2e\r\ns=-\r\n\
         c=IN IP6 2001:DB8::211:24ff:fea3:7a2e\r\nt=1153134164 1153137764\r\nm=audio 49170 RTP/AVP 97\r\n\
         a=rtpmap:97 iLBC/8000\r\na=rtcp-mux\r\n",
        &[(
            Kind::Audio,
            "[2001:db8::211:24ff:fea3:7a2e]:49170",
            49171,
            LineFlags::MUX,
        )],
    ),
    (
        "Asterisk, chan_pjsip",
        "v=0\r\no=- 1874203422 1874203424 IN IP4 203.0.113.10\r\ns=Asterisk\r\nc=IN IP4 203.0.113.10\r\nt=0 0\r\n\
         m=audio 14862 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:140\r\na=sendrecv\r\n",
        &[(Kind::Audio, "203.0.113.10:14862", 14863, LineFlags::empty())],
    ),
    (
        "Asterisk, chan_sip, fax",
        "v=0\r\no=root 1821 1822 IN IP4 203.0.113.10\r\ns=Asterisk PBX 16.28.0\r\nc=IN IP4 203.0.113.10\r\nt=0 0\r\n\
         m=audio 0 RTP/AVP 0\r\nm=image 4820 udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n\
         a=T38FaxRateManagement:transferredTCF\r\na=T38FaxMaxDatagram:1400\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n",
        &[
            (Kind::Audio, "203.0.113.10:0", 0, LineFlags::empty()),
            (Kind::Image, "203.0.113.10:4820", 4821, LineFlags::empty()),
        ],
    ),
    (
        "FreeSWITCH",
        "v=0\r\no=FreeSWITCH 1700000000 1700000001 IN IP4 203.0.113.10\r\ns=FreeSWITCH\r\n\
         c=IN IP4 203.0.113.10\r\nt=0 0\r\nm=audio 24306 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=silenceSupp:off - - - -\r\na=ptime:20\r\n\
         a=sendrecv\r\na=rtcp:24307 IN IP4 203.0.113.10\r\n",
        &[(Kind::Audio, "203.0.113.10:24306", 24307, LineFlags::empty())],
    ),
    (
        "baresip",
        "v=0\r\no=- 2389713849 1372981234 IN IP4 192.168.1.10\r\ns=-\r\nc=IN IP4 192.168.1.10\r\nt=0 0\r\n\
         a=tool:baresip 1.0.0\r\nm=audio 10026 RTP/AVP 0 8 101\r\nb=AS:125\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtcp:10027\r\n\
         a=sendrecv\r\na=label:1\r\na=rtcp-rsize\r\na=ssrc:1837112211 cname:sip:1000@pbx\r\na=ptime:20\r\n",
        &[(Kind::Audio, "192.168.1.10:10026", 10027, LineFlags::empty())],
    ),
    (
        "Linphone",
        "v=0\r\no=1000 3521 2182 IN IP4 192.168.1.10\r\ns=Talk\r\nc=IN IP4 192.168.1.10\r\nt=0 0\r\n\
         a=ice-pwd:0123456789abcdef01234567\r\na=ice-ufrag:1a2b3c4d\r\n\
         a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics\r\na=record:off\r\n\
         m=audio 7078 RTP/AVPF 96 97 98 0 8 18 101 99 100\r\na=rtpmap:96 opus/48000/2\r\n\
         a=fmtp:96 useinbandfec=1\r\na=rtcp-mux\r\n\
         a=candidate:1 1 UDP 2130706303 192.168.1.10 7078 typ host\r\n\
         a=candidate:1 2 UDP 2130706302 192.168.1.10 7079 typ host\r\na=rtcp-fb:* trr-int 5000\r\n\
         m=video 9078 RTP/AVPF 96\r\na=rtpmap:96 VP8/90000\r\na=rtcp-mux\r\na=inactive\r\n",
        &[
            (
                Kind::Audio,
                "192.168.1.10:7078",
                7079,
                LineFlags::MUX.union(LineFlags::ICE),
            ),
            (
                Kind::Video,
                "192.168.1.10:9078",
                9079,
                LineFlags::MUX
                    .union(LineFlags::ICE)
                    .union(LineFlags::NO_SEND)
                    .union(LineFlags::NO_RECEIVE),
            ),
        ],
    ),
    (
        "Twinkle",
        "v=0\r\no=twinkle 1021231563 1438761234 IN IP4 192.168.1.10\r\ns=-\r\nc=IN IP4 192.168.1.10\r\nt=0 0\r\n\
         m=audio 8000 RTP/AVP 98 97 8 0 3 101\r\na=rtpmap:98 speex/16000\r\na=rtpmap:97 speex/8000\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:3 GSM/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n",
        &[(Kind::Audio, "192.168.1.10:8000", 8001, LineFlags::empty())],
    ),
    (
        "pjsua, on hold",
        "v=0\r\no=- 3909000000 3909000001 IN IP4 192.168.1.10\r\ns=pjmedia\r\nb=AS:84\r\nt=0 0\r\na=X-nat:0\r\n\
         m=audio 4000 RTP/AVP 98 97 99 104 3 0 8 9 96\r\nc=IN IP4 192.168.1.10\r\nb=TIAS:64000\r\n\
         a=rtcp:4001 IN IP4 192.168.1.10\r\na=sendonly\r\na=rtpmap:98 speex/16000\r\n\
         a=ssrc:1286514137 cname:1a2b3c4d5e6f7a8b\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-16\r\n",
        &[(
            Kind::Audio,
            "192.168.1.10:4000",
            4001,
            LineFlags::NO_RECEIVE,
        )],
    ),
    (
        "Cisco IP phone, on hold as in RFC 2543",
        "v=0\r\no=Cisco-SIPUA 21874 1 IN IP4 192.168.1.20\r\ns=SIP Call\r\nt=0 0\r\nm=audio 16500 RTP/AVP 0 8 18 101\r\n\
         c=IN IP4 0.0.0.0\r\na=rtpmap:0 PCMU/8000\r\na=inactive\r\n",
        &[(
            Kind::Audio,
            "0.0.0.0:16500",
            16501,
            LineFlags::NO_SEND.union(LineFlags::NO_RECEIVE),
        )],
    ),
];

#[test]
fn all_bodies() {
    for (name, body, want) in ALL {
        let d = read(body).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(!d.cut, "{name}");
        assert_eq!(usize::from(d.count), want.len(), "{name}");
        for (line, (kind, address, rtcp, flags)) in d.lines.iter().zip(*want) {
            let transport = match kind {
                Kind::Image => Transport::Udptl,
                _ => Transport::Rtp,
            };
            assert_eq!((line.kind, line.transport), (*kind, transport), "{name}");
            assert_eq!(
                (&*media(line), line.rtcp, line.flags),
                (*address, *rtcp, *flags),
                "{name}"
            );
        }
    }
}
