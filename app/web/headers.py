"""The headers that every response has: constants, also for a request that the server refuses."""

from __future__ import annotations

#: Any response: one that says nothing else may load nothing, run nothing, stand in no frame, and
#: share no window, no resource and no feature with another origin.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Permitted-Cross-Domain-Policies": "none",
}
#: One over an encrypted connection; over plain HTTP browsers ignore it (RFC 6797). Two years, as
#: the preload lists and OWASP ask for; other hosts of the domain are not ours.
TLS_HEADERS = {"Strict-Transport-Security": "max-age=63072000"}

#: A page loads its own style sheets and icon, and nothing else from anywhere.
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: The pages for operators also run their own scripts, which ask this origin, and have forms. What
#: they show is asked for again each time. Forms have to say which origin they are of.
PAGES_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, Cookie",
}
