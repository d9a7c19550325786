//! Keys and tags that would like to be scripts.

use cache_core::{Cache, CacheKey, EntryOptions, TagSet};
use serde_json::json;

use super::World;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_payloads_as_keys_and_tags_are_text_and_nothing_else() {
    assert_eq!(PAYLOADS.len(), 50);
    let batches: Vec<&[&str]> = PAYLOADS.chunks(8).collect();
    let caches = batches
        .iter()
        .enumerate()
        .map(|(n, _)| Cache::builder(format!("c{n}")).build().unwrap());
    let world = World::with(caches.collect()).await;
    for (cache, batch) in world.caches.iter().zip(&batches) {
        for (place, payload) in batch.iter().enumerate() {
            // The first is stored most, so that the order on the page is known.
            for n in 0..batch.len() - place {
                let key = CacheKey::build(payload, (*payload, n)).unwrap();
                let options = EntryOptions::new().tags(TagSet::new([*payload]).unwrap());
                let _ = cache.set(&key, 1, options).await.unwrap();
            }
        }
    }
    let browser = &world.browser;
    world.sign_in(super::TOKEN);
    browser.script(
        "window.pwned = 0;
         window.alert = window.confirm = window.prompt = window.print = () => { window.pwned += 1; };
         window.elements = () => document.querySelectorAll('script, img, svg, iframe, object, embed, base, link, meta, \
             video, audio, math, marquee, [onerror], [onload], [onclick], [onfocus], a, form').length;
         window.before = window.elements();",
        json!([]),
    );
    for (n, batch) in batches.iter().enumerate() {
        let choose = "const it = document.getElementById('cache');
             it.value = arguments[0]; it.dispatchEvent(new Event('change'))";
        browser.script(choose, json!([format!("c{n}")]));
        world.after_a_reading();
        let shown = browser.script(
            "return [...document.querySelectorAll('#tags li span')].map((it) => it.textContent)",
            json!([]),
        );
        assert_eq!(shown, json!(batch), "as they are");
        let prefixes = browser.script(
            "return document.querySelectorAll('#prefixes li span').length",
            json!([]),
        );
        assert_eq!(prefixes, batch.len());
        for payload in *batch {
            let key = CacheKey::build(payload, (*payload, 0_usize)).unwrap();
            let fill = "document.getElementById(arguments[0]).value = arguments[1];
                 document.getElementById(arguments[2]).requestSubmit()";
            browser.script(fill, json!(["key", key.text(), "lookup"]));
            browser.script(fill, json!(["what", payload, "invalidate"]));
            let said = format!(
                "return document.querySelector('#invalidate .message').textContent === {}
                    && document.querySelector('#found').textContent.includes({})",
                json!(format!("Invalidated tag {payload}.")),
                json!(payload)
            );
            browser.wait(payload, &said);
        }
        let state = browser.script(
            "return [window.pwned, window.elements() - window.before]",
            json!([]),
        );
        assert_eq!(state, json!([0, 0]), "{batch:?}");
    }
    // As names in the address, too.
    for payload in [
        "</script><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
    ] {
        let path: String = payload.bytes().map(|byte| format!("%{byte:02X}")).collect();
        browser.open(&format!("http://{}/admin/cache/{path}", world.address));
        assert_eq!(
            browser.script(
                "return document.querySelectorAll('script, img').length",
                json!([])
            ),
            0
        );
    }
}

const PAYLOADS: &[&str] = &[
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><img src=x onerror=alert(1)>",
    "'><img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "<form action=javascript:alert(1)><button>x",
    "<button formaction=javascript:alert(1)>x",
    "<input autofocus onfocus=alert(1)>",
    "<select autofocus onfocus=alert(1)>",
    "<textarea autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<audio src=x onerror=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<math><mtext><script>alert(1)</script>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<base href=javascript:alert(1)//>",
    "<link rel=stylesheet href=javascript:alert(1)>",
    "<style>@import 'javascript:alert(1)'</style>",
    "<div style=\"background:url(javascript:alert(1))\">",
    "<div style=\"width:expression(alert(1))\">",
    "<table background=javascript:alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<title></title><script>alert(1)</script>",
    "<!--><script>alert(1)</script-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version=1?><script>alert(1)</script>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "${alert(1)}",
    "{{constructor.constructor('alert(1)')()}}",
    "';alert(1)//",
    "\";alert(1)//",
    "\\\";alert(1)//",
    "`-alert(1)-`",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\u{2028}alert(1)\u{2029}//</script><script>alert(1)</script>",
    "__proto__\"><img/src/onerror=alert(1)>",
];
