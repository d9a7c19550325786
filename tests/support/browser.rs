//! A real browser, Chromium, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>).
//!
//! The protocol is JSON over HTTP/1.1, and a test needs seven commands of it: that is less than a crate.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::binary;
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::{self, Scratch};
use crate::wait::{holds_within, wait_until_blocking};

/// A browser with one window, and nothing remembered from before. Closed on drop, by its process id if need be.
#[derive(Debug)]
pub struct Browser {
    session: String,
    browser_process: Option<u32>,
    // The driver ends before its folder and port are given back.
    driver: Process,
    _profile: Scratch,
    port: Port,
}

impl Browser {
    /// Starts `chromedriver` and a Chromium without a screen.
    ///
    /// # Panics
    /// When one of them is not installed; the message is the command that installs it.
    pub fn start() -> Self {
        let driver = binary::find_for("chromedriver", BROWSER_PACKAGES);
        let chromium = binary::find_for("chromium", BROWSER_PACKAGES);
        let (port, profile) = (Port::reserve(), Scratch::new("browser"));
        let mut command = Command::new(driver);
        command
            .arg(format!("--port={}", port.number()))
            .stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Process::spawn(&mut command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut browser = Self {
            session: String::new(),
            browser_process: None,
            driver,
            _profile: profile,
            port,
        };
        wait_until_blocking(Duration::from_secs(30), "chromedriver answers", || {
            browser.try_send("GET", "/status", &Value::Null).is_ok()
        });
        let arguments = [
            "--headless=new",
            // Tests run as root in containers, where the sandbox does not.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--force-color-profile=srgb",
            "--window-size=1280,900",
        ];
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments: Vec<&str> = arguments.into_iter().chain([profile.as_str()]).collect();
        let session = browser.send(
            "POST",
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": {"binary": chromium, "args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        browser.session = session["sessionId"]
            .as_str()
            .expect("a session has an id")
            .to_owned();
        let process = session["capabilities"]["goog:processID"].as_u64();
        browser.browser_process = process.and_then(|pid| u32::try_from(pid).ok());
        browser.browser_process.into_iter().for_each(scratch::watch);
        browser
    }

    /// Opens a page, and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({"url": url}));
    }

    /// Runs the body of a function with `arguments`; its result.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers make it on the spot, by `json!`"
    )]
    pub fn script(&self, body: &str, arguments: Value) -> Value {
        self.command(
            "POST",
            "/execute/sync",
            &json!({"script": body, "args": arguments}),
        )
    }

    /// Clicks where a person would. Fails if there is nothing to click, or if something lies over it.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types into a field; `\u{e007}` is the enter key.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command(
            "POST",
            &format!("/element/{element}/value"),
            &json!({"text": text}),
        );
    }

    /// Types to whatever has the focus.
    pub fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            let key = key.to_string();
            [
                json!({"type": "keyDown", "value": key}),
                json!({"type": "keyUp", "value": key}),
            ]
        });
        let strokes: Vec<Value> = strokes.collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.command("POST", "/actions", &actions);
    }

    /// The text that is seen in the first element for this selector.
    pub fn text(&self, selector: &str) -> String {
        let element = self.element(selector);
        let text = self.command("GET", &format!("/element/{element}/text"), &Value::Null);
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Whether a person sees the element.
    pub fn sees(&self, selector: &str) -> bool {
        let element = self.element(selector);
        self.command("GET", &format!("/element/{element}/displayed"), &Value::Null) == true
    }

    /// Waits until the body of a function gives `true`.
    ///
    /// # Panics
    /// When it does not; the message is the text of the page.
    #[track_caller]
    pub fn wait(&self, what: &str, condition: &str) {
        let holds = || self.script(condition, json!([])) == true;
        if !holds_within(PATIENCE, holds) {
            panic!("{what}: did not happen. The page says:\n{}", self.text("body"));
        }
    }

    /// What the page and the browser complained about since the last call: exceptions, violations of its policy.
    pub fn complaints(&self) -> Vec<String> {
        let lines = self.command("POST", "/se/log", &json!({"type": "browser"}));
        let lines = lines.as_array().cloned().unwrap_or_default();
        let text = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
        lines.iter().map(text).collect()
    }

    /// A picture of the page from its top, PNG: as wide as `width`, and as high as it is, up to `height`.
    pub fn picture(&self, width: u32, height: u32) -> Vec<u8> {
        let resize = |height: u64| {
            let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
            self.devtools("Emulation.setDeviceMetricsOverride", size);
        };
        self.devtools("Emulation.setScrollbarsHidden", json!({"hidden": true}));
        resize(u64::from(height.min(600)));
        self.script("window.scrollTo(0, 0); document.activeElement.blur()", json!([]));
        let whole = self.script("return document.documentElement.scrollHeight", json!([]));
        resize(whole.as_u64().unwrap_or(600).min(u64::from(height)));
        let picture = self.command("GET", "/screenshot", &Value::Null);
        self.devtools("Emulation.clearDeviceMetricsOverride", json!({}));
        from_base64(picture.as_str().unwrap_or_default())
    }

    /// A command of the Chrome DevTools protocol.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers make it on the spot, by `json!`"
    )]
    pub fn devtools(&self, method: &str, parameters: Value) -> Value {
        self.command(
            "POST",
            "/goog/cdp/execute",
            &json!({"cmd": method, "params": parameters}),
        )
    }

    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let found = self.command(
            "POST",
            "/element",
            &json!({"using": "css selector", "value": selector}),
        );
        let id = found.as_object().and_then(|element| element.values().next());
        id.and_then(Value::as_str)
            .expect("an element has an id")
            .to_owned()
    }

    #[track_caller]
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.send(method, &format!("/session/{}{path}", self.session), body)
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self
            .try_send(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let value = &answer["value"];
        assert!(
            value.get("error").is_none(),
            "{method} {path} {body}: {} {}",
            value["error"],
            value["message"]
        );
        value.clone()
    }

    fn try_send(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port.number(),
            body.len()
        )?;
        let answer = read_answer(&mut stream)?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closes the browser. If the driver does not answer any more, the watchdog ends the browser by its process id.
        let closed = self.try_send("DELETE", &format!("/session/{}", self.session), &Value::Null);
        if closed.is_ok() {
            self.browser_process.into_iter().for_each(scratch::forget);
        }
        self.driver.kill();
    }
}

/// The content of an answer that says how long it is.
fn read_answer(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let broken = || std::io::Error::other("the answer broke off");
    let mut read = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length
                .and_then(|text| text.trim().parse().ok())
                .ok_or_else(broken)?;
            if read.len() >= end + 4 + length {
                return Ok(read[end + 4..end + 4 + length].to_vec());
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(broken()),
            bytes => read.extend_from_slice(&buffer[..bytes]),
        }
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0);
    for digit in text.bytes().filter_map(digit) {
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// What Debian calls the programs.
const BROWSER_PACKAGES: &str = "chromium chromium-driver";

const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_and_without_padding() {
        assert_eq!(from_base64("aGVsbG8="), b"hello");
        assert_eq!(from_base64("aGVsbG8h"), b"hello!");
        assert_eq!(from_base64("+/8="), [0xfb, 0xff]);
    }
}
