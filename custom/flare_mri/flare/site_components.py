# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Components of a site's own FLARE process, listed in its ``local/resources.json``; no job names them."""

from nvflare.private.defs import SysCommandTopic
from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors
from nvflare.widgets.widget import Widget


class NoShellCommands(Widget):
    """Takes FLARE's shell commands (``cat``, ``ls``, ``grep``, ...) out of this site's process.

    FLARE 2.9 lets the server's message say whether a command needs the site's authorisation, and checks paths at the
    server alone: a server that runs another program could read every file that the site's user can read. This is built
    with the site's own components, before FLARE hands its request processors to the agent that answers the server.
    """

    def __init__(self) -> None:
        super().__init__()
        processors = ClientRequestProcessors.request_processors
        processors[:] = [one for one in processors if SysCommandTopic.SHELL not in one.get_topics()]
