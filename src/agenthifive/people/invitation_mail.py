"""The mail that carries an invitation."""

from html import escape

from agenthifive.notify.mail import Mail


def write_invitation(to: str, workspace: str, inviter: str, role: str, link: str) -> Mail:
    """An invitation to a workspace; names are shown as text, whatever they hold."""
    lines = (
        f"{inviter} invites you to the workspace {workspace} on AgentHiFive, in the role {role}.",
        f"Open this link within 7 days to accept. It works once: {link}",
        "If you do not know what this is about, ignore this mail: without the link nothing happens.",
    )
    parts = [escape(line) for line in lines]
    shown = escape(link)
    parts[1] = parts[1].replace(shown, f'<a href="{shown}">{shown}</a>')
    html = "".join(f"<p>{part}</p>" for part in parts)
    return Mail(to, f"Invitation to the workspace {workspace}", "\n\n".join(lines) + "\n", html)
