"""Contracts of the platforms around, each off unless the setting PROTOCOLS names it.

    protocol.py     what a contract consists of, and the table of them all
    settings.py     what platforms say by variables of their own: ports and routes
    kserve_v1.py    KServe's V1
    v2.py           the Open Inference Protocol, and tensors.py: tensors to rows, answers to tensors
    sagemaker.py    Amazon SageMaker
    vertex.py       Vertex AI

They are forms of POST /predict: its code answers them (service/predict.py), with its admission,
deadlines, ids, metrics, traces and logs. Shadow traffic and the share of users are /predict's only.
"""
