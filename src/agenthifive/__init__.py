"""AgentHiFive: delegate authority to AI agents without handing over credentials."""

__version__ = "0.2.0"
