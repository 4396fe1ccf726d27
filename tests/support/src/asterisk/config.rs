//! Configuration of Asterisk: phones, a trunk, and a dialplan. Nothing in it is about NAT.

use std::{fmt::Write as _, net::SocketAddrV4};

use super::release::Release;
use crate::lab::{PBX, PUBLIC_PHONE};

/// Folder of the configuration and of all files that Asterisk writes, within its root.
const FILES: &str = "/mnt";

/// Password of every phone.
pub const PASSWORD: &str = "secret";
/// Carrier to which the PBX sends numbers that begin with 0.
pub const TRUNK: SocketAddrV4 = PUBLIC_PHONE;

/// Extension at which a caller hears himself.
pub const ECHO: &str = "601";
/// Extension with a tone of [`HERTZ`].
pub const TONE: &str = "602";
/// Extension with that tone in early media. It never answers.
pub const EARLY_TONE: &str = "603";
/// Tone of the PBX.
pub const HERTZ: u32 = 1000;

/// Phones: the user of the address-of-record is the name of the endpoint and of the account.
const PHONES: [&str; 20] = [
    "1000", "1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008", "1009", "2000", "2001",
    "2002", "2003", "2004", "2005", "2006", "2007", "2008", "2009",
];

/// Settings of the PBX beside those of every test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Seconds between two OPTIONS to each contact; zero for none.
    pub qualify: u32,
    /// Whether the PBX puts itself out of the way of media, by re-INVITEs to both ends of a call. It is Asterisk's default.
    pub direct_media: bool,
    /// Whether the PBX insists on session timers.
    pub timers: bool,
    /// More lines about the PBX's own socket.
    pub socket: &'static str,
    /// More lines about every phone.
    pub phones: &'static str,
}

/// Returns the configuration files by name.
pub(super) fn files(release: Release, options: Options) -> Vec<(&'static str, String)> {
    let (name, driver) = if release.is_chan_sip() {
        ("sip.conf", chan_sip(options))
    } else {
        ("pjsip.conf", pjsip(options))
    };
    vec![
        ("hosts", format!("127.0.0.1 localhost\n{} pbx\n", PBX.ip())),
        ("resolv.conf", "nameserver 127.0.0.1\n".into()),
        ("asterisk.conf", directories()),
        ("modules.conf", modules(release)),
        ("logger.conf", LOGGER.into()),
        ("rtp.conf", RTP.into()),
        ("extensions.conf", dialplan(release)),
        ("voicemail.conf", voicemail()),
        (name, driver),
    ]
}

/// Ports of media as in Debian's own file. Without it, Asterisk begins at 5000.
const RTP: &str = "[general]\nrtpstart=10000\nrtpend=20000\n";

const LOGGER: &str = "[general]\n[logfiles]\nmessages => notice,warning,error,verbose\n";

fn directories() -> String {
    format!(
        "[directories]\n\
         astetcdir => {FILES}\n\
         astdbdir => {FILES}/db\n\
         astkeydir => {FILES}/keys\n\
         astspooldir => {FILES}/spool\n\
         astrundir => {FILES}/run\n\
         astlogdir => {FILES}/log\n"
    )
}

fn modules(release: Release) -> String {
    let unused = if release.is_chan_sip() {
        "noload => chan_pjsip.so\nnoload => res_pjsip.so\n"
    } else {
        "noload => chan_sip.so\n"
    };
    format!("[modules]\nautoload=yes\n{unused}")
}

fn dialplan(release: Release) -> String {
    let technology = release.technology();
    let [trunk, gateway] = if release.is_chan_sip() {
        ["SIP/carrier/${EXTEN}", "SIP/1000/${EXTEN:1}"]
    } else {
        ["PJSIP/${EXTEN}@carrier", "PJSIP/${EXTEN:1}@1000"]
    };
    format!(
        "[phones]\n\
         ; A phone.\n\
         exten => _[12]00X,1,Dial({technology}/${{EXTEN}},30)\n\
         exten => _[12]00X,hint,{technology}/${{EXTEN}}\n\
         ; Two phones at once.\n\
         exten => 500,1,Dial({technology}/1000&{technology}/1001,30)\n\
         ; Silence, until somebody hangs up.\n\
         exten => 600,1,Answer()\n\
         same => n,Wait(120)\n\
         same => n,Hangup()\n\
         ; What the caller says.\n\
         exten => {ECHO},1,Answer()\n\
         same => n,Echo()\n\
         ; A tone.\n\
         exten => {TONE},1,Answer()\n\
         same => n,Playtones({HERTZ})\n\
         same => n,Wait(120)\n\
         ; A tone, and no answer.\n\
         exten => {EARLY_TONE},1,Progress()\n\
         same => n,Playtones({HERTZ})\n\
         same => n,Wait(120)\n\
         ; A carrier.\n\
         exten => _0X.,1,Dial({trunk},30)\n\
         ; The phone 1000 as a gateway: it registers, and numbers that begin with 9 go there.\n\
         exten => _9X.,1,Dial({gateway},30)\n\
         [carrier]\n\
         exten => 600,1,Goto(phones,600,1)\n\
         [messages]\n\
         exten => _[12]00X,1,MessageSend({message}:${{EXTEN}},${{MESSAGE(from)}})\n",
        message = technology.to_lowercase(),
    )
}

fn voicemail() -> String {
    let mut text = String::from("[general]\n[default]\n");
    for user in PHONES {
        let _ = writeln!(text, "{user} => 1234,{user}");
    }
    text
}

fn pjsip(options: Options) -> String {
    let Options {
        qualify,
        direct_media,
        timers,
        socket,
        phones,
    } = options;
    let mut text = format!(
        "[transport-udp]\n\
         type=transport\n\
         protocol=udp\n\
         bind=0.0.0.0\n\
         {socket}\n\
         [phone](!)\n\
         type=endpoint\n\
         context=phones\n\
         message_context=messages\n\
         disallow=all\n\
         allow=ulaw\n\
         direct_media={direct_media}\n\
         timers={timers}\n\
         {phones}\n\
         [auth](!)\n\
         type=auth\n\
         auth_type=userpass\n\
         password={PASSWORD}\n\
         [aor](!)\n\
         type=aor\n\
         max_contacts=5\n\
         qualify_frequency={qualify}\n",
        direct_media = yes(direct_media),
        timers = if timers { "always" } else { "yes" },
    );
    for user in PHONES {
        // Phones whose number begins with 1 are told of messages without asking, the others when they subscribe.
        let mailbox = format!("mailboxes={user}@default\n");
        let (endpoint, aor) = if user.starts_with('1') {
            (mailbox.as_str(), "")
        } else {
            ("", mailbox.as_str())
        };
        let _ = write!(
            text,
            "\n[{user}](phone)\nauth={user}\naors={user}\n{endpoint}\
             [{user}](auth)\nusername={user}\n\
             [{user}](aor)\n{aor}"
        );
    }
    let _ = write!(
        text,
        "\n[carrier]\n\
         type=endpoint\n\
         context=carrier\n\
         disallow=all\n\
         allow=ulaw\n\
         aors=carrier\n\
         [carrier]\n\
         type=aor\n\
         contact=sip:{TRUNK}\n\
         [carrier]\n\
         type=identify\n\
         endpoint=carrier\n\
         match={}\n",
        TRUNK.ip(),
    );
    text
}

/// Returns `sip.conf`. From Asterisk 11 on, `nat=auto_force_rport` is the default, with which `chan_sip` sends to the source
/// of a REGISTER where Via shows a NAT. Configurations that are older, or were written for older ones, say `nat=no`.
fn chan_sip(options: Options) -> String {
    let Options {
        qualify,
        direct_media,
        timers,
        socket,
        phones,
    } = options;
    let mut text = format!(
        "[general]\n\
         context=unknown\n\
         allowguest=no\n\
         bindaddr=0.0.0.0\n\
         nat=no\n\
         disallow=all\n\
         allow=ulaw\n\
         callcounter=yes\n\
         accept_outofcall_message=yes\n\
         outofcall_message_context=messages\n\
         auth_message_requests=no\n\
         session-timers={timers}\n\
         session-minse=90\n\
         directmedia={direct_media}\n\
         {socket}\n\
         [phone](!)\n\
         type=friend\n\
         host=dynamic\n\
         context=phones\n\
         secret={PASSWORD}\n\
         {phones}\n\
         {qualify}",
        direct_media = yes(direct_media),
        timers = if timers { "originate" } else { "accept" },
        qualify = match qualify {
            0 => "qualify=no\n".into(),
            seconds => format!("qualify=yes\nqualifyfreq={seconds}\n"),
        },
    );
    for user in PHONES {
        let subscribes = if user.starts_with('1') { "no" } else { "yes" };
        let _ = write!(
            text,
            "\n[{user}](phone)\nmailbox={user}@default\nsubscribemwi={subscribes}\n"
        );
    }
    let _ = write!(
        text,
        "\n[carrier]\n\
         type=peer\n\
         context=carrier\n\
         host={}\n\
         port={}\n\
         insecure=invite,port\n",
        TRUNK.ip(),
        TRUNK.port(),
    );
    text
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
